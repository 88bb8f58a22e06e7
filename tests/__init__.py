"""Tests; a package, because dependencies install a top-level package of the same name."""

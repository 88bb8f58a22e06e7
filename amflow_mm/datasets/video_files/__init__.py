"""Checking and re-encoding of many video files, whatever state they are in."""

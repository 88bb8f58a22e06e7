"""From what ``pretrained`` says to a file: a name, an address, a repository, a zoo, a path."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from amflow_mm.errors import WeightsError
from amflow_mm.hashing import hash_file
from amflow_mm.models.weights import mmpretrain
from amflow_mm.models.weights.cache import cached, name_for
from amflow_mm.models.weights.catalog import CATALOG, ImageWeights
from amflow_mm.models.weights.normalization import Normalization, identify

HF_SCHEME = "hf:"
HF_DEFAULT_FILE = "model.safetensors"
HF_ENDPOINT_VARIABLE = "HF_ENDPOINT"
"""Hugging Face's own variable, for mirrors."""

_HF_SOURCE = re.compile(
    r"hf:(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w.-]+))?(?:/(?P<file>[\w./-]+))?"
)


@dataclass(frozen=True)
class LocatedFile:
    """A file on this machine and what its source says of it.

    Args:
        path: The file.
        entry: Its row of the catalogue, if it has one.
        normalization: Mean and deviation of the pixels, where the source tells.
    """

    path: Path
    entry: ImageWeights | None = None
    normalization: Normalization | None = None


def locate(source: str) -> LocatedFile:
    """Return the file that a source means, fetched into the cache if need be.

    Args:
        source: A name of ``CATALOG``; an ``https://`` address; ``hf:owner/repo``, also with
            ``@revision`` and ``/file``; ``mmpretrain::name``; or a path.

    Raises:
        WeightsError: There is no such source, or its file cannot be had.
    """
    if source in CATALOG:
        entry = CATALOG[source]
        normalization = identify(entry.mean, entry.std)
        return LocatedFile(_fetch_entry(entry), entry, normalization)
    if source.startswith(mmpretrain.SCHEME):
        model = mmpretrain.find_in_zoo(source.removeprefix(mmpretrain.SCHEME))
        return LocatedFile(_fetch(model.url), normalization=model.normalization)
    if source.startswith(HF_SCHEME):
        return LocatedFile(_fetch(hf_address(source)))
    if source.startswith(("https://", "http://")):
        return LocatedFile(_fetch(source))
    path = Path(source).expanduser()
    if not path.is_file():
        raise WeightsError(
            f"pretrained={source!r} is neither a file nor one of the named weights "
            f"{', '.join(CATALOG)}; an address, hf:owner/repo and mmpretrain::name will do too, "
            "see docs/weights.md"
        )
    return LocatedFile(path)


def hf_address(source: str) -> str:
    """Return the address of ``hf:owner/repo``, ``hf:owner/repo@revision`` or ``…/file``.

    Raises:
        WeightsError: It is not of this form.
    """
    match = _HF_SOURCE.fullmatch(source)
    if match is None:
        raise WeightsError(
            f"pretrained={source!r} must be hf:owner/repo, which means its {HF_DEFAULT_FILE}, or "
            "hf:owner/repo@revision, with /file behind it for another file"
        )
    endpoint = os.environ.get(HF_ENDPOINT_VARIABLE, "https://huggingface.co").rstrip("/")
    revision, file = match["revision"] or "main", match["file"] or HF_DEFAULT_FILE
    return f"{endpoint}/{match['repo']}/resolve/{revision}/{file}"


def _fetch(url: str) -> Path:
    return cached(url, name_for(url), sha256=None)


def _fetch_entry(entry: ImageWeights) -> Path:
    path = cached(entry.url, name_for(entry.url), sha256=entry.sha256)
    start = entry.sha256_start
    if start is not None and not (found := hash_file(path)).startswith(start):
        raise WeightsError(
            f"{path} has SHA-256 {found}, but that of {entry.name} begins with {start}; remove "
            f"the file and fetch {entry.url} again"
        )
    return path

"""Image weights from any source into one safetensors file, and the table of those with a name."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from amflow_mm.engine.errors import UserError
from amflow_mm.hashing import hash_file
from amflow_mm.models.weights import CATALOG, ImageWeights, read_source, save_image_weights
from amflow_mm.models.weights.cache import cache_folder, name_for
from amflow_mm.models.weights.sources import locate

SHOWN_DIGITS = 12
"""Of a checksum, in the table; all are in its JSON."""


@dataclass(frozen=True)
class ConvertedWeights:
    """What was converted into what.

    Args:
        source: As it was asked for.
        sha256: Of the file that was read.
        layout: Whose names its entries had.
        license: Of the weights, where the catalogue tells.
        url: Where they are published, where the catalogue tells.
        path: The file that was written.
        num_tensors: In it.
        num_parameters: In it.
        num_bytes: Of it.
    """

    source: str
    sha256: str
    layout: str
    license: str | None
    url: str | None
    path: str
    num_tensors: int
    num_parameters: int
    num_bytes: int


def check_converted_path(out: str | Path, *, is_overwriting: bool) -> Path:
    """Return where converted weights may go.

    Raises:
        UserError: The name is not one for safetensors, or something is there already.
    """
    path = Path(out).expanduser()
    if path.suffix != ".safetensors":
        raise UserError(f"--out {out} must end in .safetensors, which is what is written")
    if path.is_dir():
        raise UserError(f"--out {out} is a folder")
    if path.exists() and not is_overwriting:
        raise UserError(f"--out {out} exists already; give --force to replace it")
    return path


def convert_weights(source: str, path: Path) -> ConvertedWeights:
    """Read image weights and write them under our names; the file appears when it is whole.

    Args:
        source: Anything that ``pretrained`` takes.
        path: A file that ends in ``.safetensors``; missing folders are made.

    Raises:
        UserError: They cannot be had, are of no known layout, or cannot be written.
    """
    weights = read_source(source)
    entry = CATALOG.get(source)
    facts = {
        "sha256": _checksum_of(source),
        "layout": weights.layout,
        "license": entry and entry.license,
        "url": entry and entry.url,
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_image_weights(weights, path, source=source, facts=facts)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} cannot be written: {error}") from error
    return ConvertedWeights(
        source=source,
        **facts,
        path=str(path),
        num_tensors=len(weights.state),
        num_parameters=sum(value.numel() for value in weights.state.values()),
        num_bytes=path.stat().st_size,
    )


def describe_catalog() -> list[dict[str, Any]]:
    """Return the table of named weights as plain data, with the place of each file in the cache."""
    folder = cache_folder()
    return [
        asdict(entry) | {"cache_path": str(folder / name_for(entry.url))}
        for entry in CATALOG.values()
    ]


def format_catalog() -> str:
    """Return the table of named weights for reading."""
    header = ("name", "variant", "family", "pixels", "registers", "licence", "SHA-256", "address")
    return _align([header, *(_cells(entry) for entry in CATALOG.values())])


def _checksum_of(source: str) -> str:
    """Return the SHA-256 of the file behind a source, which has been read before."""
    entry = CATALOG.get(source)
    if entry is not None and entry.sha256 is not None:
        return entry.sha256
    return hash_file(locate(source).path)


def _cells(entry: ImageWeights) -> tuple[str, ...]:
    checksum = entry.sha256 or entry.sha256_start
    return (
        entry.name,
        entry.variant,
        entry.family,
        str(entry.image_size),
        str(entry.num_registers),
        entry.license,
        checksum[:SHOWN_DIGITS] if checksum else "not published",
        entry.url,
    )


def _align(rows: Iterable[tuple[str, ...]]) -> str:
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
    return "\n".join(lines)

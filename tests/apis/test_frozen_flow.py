import pytest
import torch

from amflow_mm.apis import build_frozen_flow
from amflow_mm.apis.frozen_flow import FrozenFlow
from amflow_mm.engine.errors import UserError
from amflow_mm.models import AMFlow, ImageViT, UniformFlow


@pytest.fixture
def clip():
    return torch.randint(0, 256, (5, 70, 98, 3), dtype=torch.uint8)


def test_flow_is_the_mean_over_the_chosen_blocks(model, clip):
    frames = clip.permute(3, 0, 1, 2)[None].float()
    mean = torch.tensor([123.675, 116.28, 103.53])[:, None, None, None]
    std = torch.tensor([58.395, 57.12, 57.375])[:, None, None, None]
    flow = model.backbone((frames - mean) / std, model.neck, return_flow=True).flow
    torch.testing.assert_close(model(clip, [0, 2]), flow[0, [0, 2], :-1].mean(dim=0))
    torch.testing.assert_close(model(clip, [1]), flow[0, 1, :-1])


def test_flow_has_mean_one_and_no_gradient(model, clip):
    w = model(clip, [0, 1, 2])
    assert w.shape == (4, 35)
    assert not w.requires_grad
    torch.testing.assert_close(w.mean(dim=-1), torch.ones(4))


def test_blocks_above_the_last_chosen_one_are_not_run(model, clip):
    expected = model(clip, [0, 1])
    model.backbone.blocks[2] = torch.nn.Identity()  # cannot be called like a block
    torch.testing.assert_close(model(clip, [0, 1]), expected)


@pytest.mark.parametrize(
    ("depth", "layers"),
    [(1, (0,)), (2, (1,)), (3, (1,)), (12, range(1, 7)), (24, range(2, 13))],
)
def test_default_blocks_follow_the_depth(depth, layers):
    vit = ImageViT({"embed_dim": 4, "depth": depth, "num_heads": 2, "mlp_dim": 4, "patch_size": 14})
    assert FrozenFlow(vit, AMFlow(), torch.nn.Identity()).default_layers() == tuple(layers)


def test_adapters_and_head_are_left_out_and_nothing_trains(model):
    assert type(model.backbone) is ImageViT
    assert not model.training
    assert not [name for name, _ in model.named_parameters() if "adapter" in name or "head" in name]


def test_side_backbone_gives_its_image_model(config):
    config.model.backbone = {
        "type": "AMFlowSideViT",
        "variant": dict(config.model.backbone.variant, depth=2),
        "family": "timm",
        "layers": [1],
        "unit": {"type": "TCNUnit"},
    }
    model = build_frozen_flow(config)
    assert model.depth == 2
    assert model.backbone.family == "timm"


def test_neck_is_the_one_of_the_config(config, clip):
    config.model.neck = {"type": "UniformFlow"}
    model = build_frozen_flow(config)
    assert type(model.neck) is UniformFlow
    torch.testing.assert_close(model(clip, [1]), torch.ones(4, 35))


def test_pretrained_weights_are_loaded(config, model, tmp_path):
    path = tmp_path / "vit.pth"
    torch.save(model.backbone.state_dict(), path)
    config.model.backbone.pretrained = str(path)
    loaded = build_frozen_flow(config).backbone.state_dict()
    for name, value in model.backbone.state_dict().items():
        assert torch.equal(loaded[name], value)
    config.model.backbone.pretrained = None
    other = build_frozen_flow(config).backbone.state_dict()
    assert not torch.equal(other["blocks.0.attn.qkv.weight"], loaded["blocks.0.attn.qkv.weight"])


class TestErrors:
    def test_missing_weights(self, config):
        config.model.backbone.pretrained = "nowhere/vit.pth"
        with pytest.raises(UserError, match=r"backbone\.pretrained: .*nowhere/vit\.pth"):
            build_frozen_flow(config)

    def test_weights_of_another_model(self, config, model, tmp_path):
        path = tmp_path / "vit.pth"
        torch.save(model.backbone.state_dict(), path)
        config.model.backbone.update(pretrained=str(path), num_registers=2)
        with pytest.raises(UserError, match=r"do not fit this backbone: missing .*registers"):
            build_frozen_flow(config)

    @pytest.mark.parametrize("neck", [None, "absent"])
    def test_config_without_neck(self, config, neck):
        config.model.neck = neck
        if neck == "absent":
            config.model.pop("neck")
        with pytest.raises(UserError, match=r"model\.neck is not set"):
            build_frozen_flow(config)

    def test_backbone_that_is_no_image_transformer(self, config):
        config.model.backbone = {"type": "ResNet", "depth": 18}
        with pytest.raises(UserError, match="type=ResNet is not built on ImageViT"):
            build_frozen_flow(config)

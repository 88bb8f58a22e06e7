"""AdaptFormer: initialisation, width, scale, dropout; and that frames never meet."""

import pytest
import torch
from torch import nn

from tests.models.backbones.peers import adaptformer
from tests.models.tiny import C, T, clips_of, fixed


def test_what_is_zero_at_the_start_and_what_is_not():
    adapter = adaptformer(bottleneck_dim=400).blocks[0].beside_mlp
    zero = {name for name, value in adapter.named_parameters() if not value.any()}
    assert zero == {"up.weight", "up.bias", "down.bias"}
    # Kaiming's uniform with a = sqrt(5): variance 1 / (3 C).
    assert adapter.down.weight.var().item() == pytest.approx(1 / (3 * C), rel=0.1)
    assert isinstance(adapter.activate, nn.ReLU)


def test_frames_and_clips_do_not_see_each_other():
    model, clips = fixed(adaptformer()).eval(), clips_of()
    changed = clips.clone()
    changed[1, :, 3] += 1
    moved = (model(changed).features - model(clips).features).abs().amax(dim=-1)
    assert moved[1, 3] > 0.01
    moved[1, 3] = 0
    assert moved.max() < 1e-5
    for t in range(T):
        frame = model(clips[:, :, t : t + 1]).features[:, 0]
        torch.testing.assert_close(model(clips).features[:, t], frame)


@pytest.mark.parametrize("scale", [0.1, 1.0])
def test_the_scale_multiplies_the_adapter(scale):
    model, reference = fixed(adaptformer(scale=scale)).eval(), fixed(adaptformer(scale=1.0)).eval()
    with torch.no_grad():
        for block in reference.blocks:
            block.beside_mlp.up.weight *= scale
            block.beside_mlp.up.bias *= scale
    torch.testing.assert_close(model(clips_of()).features, reference(clips_of()).features)


def test_dropout_works_in_training_alone():
    torch.manual_seed(0)
    model = fixed(adaptformer(dropout=0.5, scale=1.0))
    expected = fixed(adaptformer(dropout=0.0, scale=1.0)).eval()(clips_of()).features
    assert torch.equal(model.eval()(clips_of()).features, expected)
    assert (model.train()(clips_of()).features - expected).abs().max() > 0.01

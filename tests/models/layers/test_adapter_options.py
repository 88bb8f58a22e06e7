"""Options of the plain adapter that the peers use; ``test_adapter.py`` has the rest."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F

from amflow_mm.models.layers import Adapter
from amflow_mm.testing import fixed_init_, fixed_tensor

C, R = 7, 5


def make(**options):
    return fixed_init_(Adapter(C, R, **options))


@pytest.mark.parametrize(("activation", "function"), [("gelu", F.gelu), ("relu", F.relu)])
def test_activations(activation, function):
    module, x = make(activation=activation, scale=0.3), fixed_tensor((2, 3, C))
    expected = 0.3 * F.linear(
        function(F.linear(x, module.down.weight, module.down.bias)),
        module.up.weight,
        module.up.bias,
    )
    torch.testing.assert_close(module(x), expected)


def test_an_unknown_activation_raises(own_checks_only):
    with pytest.raises(ValueError, match="activation='tanh' must be one of 'gelu', 'relu'"):
        Adapter(C, R, activation="tanh")


def test_options_add_no_weights():
    plain, full = Adapter(C, R), Adapter(C, R, activation="relu", dropout=0.1, drop_prob=0.2)
    assert plain.state_dict().keys() == full.state_dict().keys()
    assert full.adapter_params() == ["down.weight", "down.bias", "up.weight", "up.bias"]


def test_drop_path_drops_whole_clips_and_keeps_the_mean():
    torch.manual_seed(0)
    module = make(drop_prob=0.4).train()
    x = fixed_tensor((1, 3, C)).expand(2000, -1, -1)
    out = module(x)
    kept = out.abs().sum(dim=(1, 2)) > 0
    assert kept.float().mean().item() == pytest.approx(0.6, abs=0.05)
    torch.testing.assert_close(out[kept], module.eval()(x)[kept] / 0.6)


def test_dropout_thins_the_bottleneck_in_training_alone():
    torch.manual_seed(0)
    module, x = make(dropout=0.5), fixed_tensor((4000, C))
    expected = module.eval()(x)
    out = module.train()(x)
    assert not torch.equal(out, expected)
    torch.testing.assert_close(out.mean(dim=0), expected.mean(dim=0), atol=0.05, rtol=0.05)


def test_it_can_be_copied_and_sent_to_another_process():
    module, x = make(activation="relu"), fixed_tensor((2, C))
    for copied in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert torch.equal(copied(x), module(x))

"""AMFlow is attention_map_flow on the model's own queries and keys."""

import pytest
import torch
from mmengine.registry import init_default_scope

from amflow_mm.models.backbones import AMFlowViT
from amflow_mm.models.layers import attention_map_flow, per_head_flow
from amflow_mm.models.necks import AMFlow
from tests.models.tiny import DEPTH, ENCODER, GRID, VIT, B, T, adapter, clips_of, fixed


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope("amflow_mm")


def queries_and_keys(model, clips, neck):
    """Yield (x, q, k) of every block, recomputed from the tokens that enter it."""
    x, grid = model.embed(clips)
    for layer, block in enumerate(model.blocks):
        _, q, k = block.attn(block.norm1(x).flatten(0, 1))
        yield x, q.unflatten(0, (B, T)), k.unflatten(0, (B, T))
        x, _ = block(x, grid, neck, layer)


@pytest.mark.parametrize("num_registers", [0, 2])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"normalize": "softmax"},
        {"normalize": "softmax", "temperature": 1.0},
        {"normalize": "row"},
        {"source": "pre"},
    ],
    ids=str,
)
def test_the_flow_of_each_block_is_that_of_its_attention(options, num_registers):
    model = fixed(AMFlowViT(adapter(), num_registers=num_registers, **VIT)).eval()
    neck = AMFlow(**options)
    found = model(clips_of(), neck, return_flow=True).flow
    options = {"normalize": "column", **options}
    for layer, (_, q, k) in enumerate(queries_and_keys(model, clips_of(), neck)):
        expected = attention_map_flow(q, k, 1 + num_registers, **options)
        torch.testing.assert_close(found[:, layer], expected)
    assert layer == DEPTH - 1


def test_the_correspondence_comes_from_the_patches_that_enter_the_block():
    model = fixed(AMFlowViT(adapter(), num_registers=2, **VIT)).eval()
    neck = fixed(AMFlow(aligner=ENCODER))
    found = model(clips_of(), neck, return_flow=True).flow
    for layer, (x, q, k) in enumerate(queries_and_keys(model, clips_of(), neck)):
        correspondence = neck.aligner(x[:, :, 3:], GRID)
        expected = attention_map_flow(q, k, 3, normalize="column", correspondence=correspondence)
        torch.testing.assert_close(found[:, layer], expected)


def test_heads_can_be_averaged_after_the_difference():
    model = fixed(AMFlowViT(adapter(), **VIT)).eval()
    _, q, k = next(queries_and_keys(model, clips_of(), AMFlow()))
    neck = AMFlow(average_heads="after")
    found = neck(q, k, torch.zeros(B, T, 7, 24), 0, GRID)
    expected = per_head_flow(
        q,
        k,
        num_prefix_tokens=1,
        temperature="auto",
        source="post",
        normalize="column",
        correspondence=None,
        average_heads="after",
    )
    assert torch.equal(found, expected)
    assert not torch.allclose(found, AMFlow()(q, k, torch.zeros(B, T, 7, 24), 0, GRID))


def test_the_backend_is_handed_on_and_does_not_change_what_is_measured():
    q = torch.zeros(B, T, 3, 7, 8)
    neck = AMFlow(backend="triton")
    with pytest.raises(ValueError, match="backend='triton' cannot compute this call"):
        neck(q, q, torch.zeros(B, T, 7, 24), 0, GRID)
    assert neck.measurement() == AMFlow().measurement() == AMFlow(backend="torch").measurement()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("normalize", "sum"),
        ("source", "mid"),
        ("average_heads", "never"),
        ("temperature", "hot"),
        ("backend", "cuda"),
    ],
)
def test_unknown_options_raise_at_the_first_clip(option, value, own_checks_only):
    neck = AMFlow(**{"normalize": "softmax", option: value})
    q = torch.zeros(B, T, 3, 7, 8)
    with pytest.raises(ValueError, match=f"{option}='{value}' must be"):
        neck(q, q, torch.zeros(B, T, 7, 24), 0, GRID)

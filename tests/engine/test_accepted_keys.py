"""What a signature takes, seen through `**kwargs`."""

import functools

import pytest
from torch import nn, optim

from amflow_mm.engine.accepted_keys import accepted_keys


class Base:
    def __init__(self, alpha, *, beta=2):
        self.alpha, self.beta = alpha, beta


class Forwarding(Base):
    def __init__(self, gamma=3, **kwargs):
        super().__init__(**kwargs)


class ForwardingByName(Base):
    def __init__(self, *args, gamma=3, **options):
        Base.__init__(self, *args, **options)


class ForwardingTwice(Forwarding):
    def __init__(self, delta, **kwargs):
        super().__init__(gamma=5, **kwargs)


class Reading(Base):
    def __init__(self, **kwargs):
        super().__init__(kwargs.pop("epsilon"), beta=kwargs["zeta"] if "eta" in kwargs else 7)


class Swallowing(Base):
    def __init__(self, gamma=3, **kwargs):
        super().__init__(gamma)


class Storing(Base):
    def __init__(self, **kwargs):
        self.options = kwargs


class WithoutConstructor(Base):
    pass


def function(clips, num_views, *, mode="loss"):
    return clips, num_views, mode


@pytest.mark.parametrize(
    ("target", "keys"),
    [
        (Base, {"alpha", "beta"}),
        (WithoutConstructor, {"alpha", "beta"}),
        (Forwarding, {"gamma", "alpha", "beta"}),
        (ForwardingByName, {"gamma", "alpha", "beta"}),
        (ForwardingTwice, {"delta", "gamma", "alpha", "beta"}),
        (Reading, {"epsilon", "zeta", "eta"}),
        (Swallowing, {"gamma"}),
        (function, {"clips", "num_views", "mode"}),
        (nn.GELU, {"approximate"}),
        (nn.Identity, set()),
        (object, set()),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_accepted_keys(target, keys):
    assert accepted_keys(target) == keys


def test_keywords_kept_for_later_may_be_anything():
    assert accepted_keys(Storing) is None


def test_keywords_kept_for_later_may_be_told():
    assert accepted_keys(Storing, frozenset({"theta"})) == {"theta"}
    assert accepted_keys(Base, frozenset({"theta"})) == {"alpha", "beta"}


def test_partial_function_keeps_its_keywords():
    assert accepted_keys(functools.partial(function, mode="predict")) >= {"num_views", "mode"}


def test_optimiser_of_torch():
    assert {"lr", "betas", "weight_decay"} <= accepted_keys(optim.AdamW)

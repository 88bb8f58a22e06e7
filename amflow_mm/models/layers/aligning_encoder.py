"""Aligning encoders: where each patch of frame t is found in frame t+1.

All of them map patch tokens (B, T, P, C) to row-stochastic correspondences (B, T-1, P, P), those
of one affine map as taps.
``AligningEncoder`` is learned (the paper's kind, our architecture), ``AffineAligner`` has no
parameters and assumes that the camera's motion is one affine map of the image.
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from amflow_mm.models.layers.correspondence import (
    Grid,
    Taps,
    affine_taps,
    patch_centres,
    window_mask,
)
from amflow_mm.models.layers.precision import full_precision
from amflow_mm.models.layers.temporal_units import EncoderLayer

Warp = Literal["dense", "window", "affine"]


class AligningEncoder(nn.Module):
    """Transformer encoder over the patch tokens of both frames of a pair.

        P = softmax(W_q h_t (W_k h_{t+1})^T / sqrt(R) + lambda I)     dense, window
        P = bilinear sampling at theta = identity + W mean(h)         affine

    It starts as the identity: W_q (dense, window) or W (affine) is zero and lambda is large. A
    free correspondence can align away the very motion that we look for; ``window`` and
    ``affine`` restrict it.

    Args:
        embed_dim: Width C of the tokens.
        bottleneck_dim: Width R of the encoder.
        warp: ``"dense"`` any patch to any, ``"window"`` within ``window_radius`` rows and
            columns, ``"affine"`` six numbers per frame pair.
        window_radius: Reach of ``"window"`` in patches.
        num_layers: Encoder layers.
        num_heads: Heads of the encoder.
        identity_logit: Log-odds of the identity against all other patches together at the
            start; 6 gives a diagonal of 0.998 on any grid.
    """

    def __init__(
        self,
        embed_dim: int,
        bottleneck_dim: int = 192,
        *,
        warp: Warp = "affine",
        window_radius: int = 3,
        num_layers: int = 1,
        num_heads: int = 4,
        identity_logit: float = 6.0,
    ) -> None:
        super().__init__()
        if warp not in ("dense", "window", "affine"):
            raise ValueError(f"warp={warp!r} must be one of 'dense', 'window', 'affine'")
        if window_radius < 1:
            raise ValueError(f"window_radius={window_radius} must be >= 1 patch")
        self.warp = warp
        self.window_radius = window_radius
        self.down = nn.Linear(embed_dim, bottleneck_dim)
        self.frame_embedding = nn.Parameter(torch.zeros(2, bottleneck_dim))
        nn.init.trunc_normal_(self.frame_embedding, std=0.02)
        self.layers = nn.ModuleList(
            EncoderLayer(bottleneck_dim, num_heads, 4 * bottleneck_dim) for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(bottleneck_dim)
        if warp == "affine":
            self.affine = nn.Linear(bottleneck_dim, 6)
            nn.init.zeros_(self.affine.weight)
            nn.init.zeros_(self.affine.bias)
        else:
            self.query = nn.Linear(bottleneck_dim, bottleneck_dim, bias=False)
            self.key = nn.Linear(bottleneck_dim, bottleneck_dim, bias=False)
            nn.init.zeros_(self.query.weight)
            self.identity_logit = nn.Parameter(torch.tensor(float(identity_logit)))

    def adapter_params(self) -> list[str]:
        """Everything here is trained."""
        return [name for name, _ in self.named_parameters()]

    def forward(self, x: Float[Tensor, "B T P C"], grid: Grid) -> Float[Tensor, "B T-1 P P"] | Taps:
        """Return the correspondence from each frame to the next; as taps if it is affine."""
        num_patches = x.shape[2]
        h = self.down(x)
        pairs = torch.stack([h[:, :-1], h[:, 1:]], dim=2) + self.frame_embedding[:, None]
        encoded = pairs.flatten(0, 1).flatten(1, 2)  # (B T-1) 2P R
        for layer in self.layers:
            encoded = layer(encoded)
        encoded = self.norm(encoded)
        if self.warp == "affine":
            with full_precision(x.device):
                return affine_taps(self._theta(encoded).unflatten(0, (x.shape[0], -1)), grid)
        correspondence = self._soft(*encoded.split(num_patches, dim=1), grid)
        return correspondence.unflatten(0, (x.shape[0], -1))

    def _theta(self, encoded: Float[Tensor, "F Q R"]) -> Float[Tensor, "F 2 3"]:
        change = self.affine(encoded.mean(dim=1).to(self.affine.weight.dtype))
        identity = torch.eye(2, 3, device=change.device, dtype=change.dtype)
        return identity + change.unflatten(-1, (2, 3))

    def _soft(
        self, here: Float[Tensor, "F P R"], there: Float[Tensor, "F P R"], grid: Grid
    ) -> Float[Tensor, "F P P"]:
        num_patches = here.shape[1]
        scores = self.query(here) @ self.key(there).transpose(-1, -2) / here.shape[-1] ** 0.5
        diagonal = torch.eye(num_patches, device=scores.device, dtype=torch.float32)
        scores = scores.float() + (self.identity_logit + math.log(num_patches)) * diagonal
        if self.warp == "window":
            mask = window_mask(grid, self.window_radius, scores.device)
            scores = scores.masked_fill(~mask, -torch.inf)
        return scores.softmax(dim=-1)


class AffineAligner(nn.Module):
    """One affine warp per frame pair, fitted in closed form to soft matches of frozen tokens.

    Camera motion is global and object motion is what remains, so the fit is robust: patches that
    disagree with the common warp lose their vote. No parameters; differentiable.

    Args:
        window_radius: How far a patch may have moved between two frames, in patches.
        temperature: Of the softmax over cosine similarities.
        prior: Pull of a match towards staying in place, per squared patch of distance.
        num_iterations: Rounds of re-weighting.
        inlier_distance: Residual in patches at which a match has lost half of its vote.
        ridge: Pull of the fit towards the identity, in votes.
    """

    def __init__(
        self,
        *,
        window_radius: int = 4,
        temperature: float = 0.03,
        prior: float = 0.002,
        num_iterations: int = 5,
        inlier_distance: float = 0.5,
        ridge: float = 0.01,
    ) -> None:
        super().__init__()
        if temperature <= 0 or inlier_distance <= 0:
            raise ValueError(
                f"temperature={temperature} and inlier_distance={inlier_distance} must be > 0"
            )
        self.window_radius = window_radius
        self.temperature = temperature
        self.prior = prior
        self.num_iterations = num_iterations
        self.inlier_distance = inlier_distance
        self.ridge = ridge

    def extra_repr(self) -> str:
        """Name the options: flows that are kept on disk are told apart by this text."""
        names = (
            "window_radius", "temperature", "prior", "num_iterations", "inlier_distance", "ridge",
        )  # fmt: skip
        return ", ".join(f"{name}={getattr(self, name)}" for name in names)

    def forward(self, x: Float[Tensor, "B T P C"], grid: Grid) -> Taps:
        """Return the correspondence from each frame to the next."""
        with full_precision(x.device):
            return affine_taps(self.estimate(x, grid), grid)

    def estimate(self, x: Float[Tensor, "B T P C"], grid: Grid) -> Float[Tensor, "B T-1 2 3"]:
        """Return the affine map of each frame pair, in patch units from the centre."""
        with full_precision(x.device):
            features = _varying_part(x.float())
            similarity = features[:, :-1] @ features[:, 1:].transpose(-1, -2)
            centres = patch_centres(grid, device=x.device)
            distance = torch.cdist(centres, centres).square()
            mask = window_mask(grid, self.window_radius, x.device)
            staying = (-self.prior * distance).masked_fill(~mask, -torch.inf)
            found, spread = _moments((staying + similarity) / self.temperature, centres)
            _, blind_spread = _moments(staying / self.temperature, centres)
            # A match no sharper than the prior alone has seen nothing and gets no vote.
            confidence = (1 - spread / blind_spread).clamp_min(0).square()
            return self._fit(centres, found, confidence)

    def _fit(
        self,
        source: Float[Tensor, "P 2"],
        target: Float[Tensor, "B S P 2"],
        confidence: Float[Tensor, "B S P"],
    ) -> Float[Tensor, "B S 2 3"]:
        """Iteratively re-weighted least squares of ``target = theta (source, 1)``."""
        design = F.pad(source, (0, 1), value=1.0)  # P 3: x, y, 1
        identity = torch.eye(2, 3, device=source.device)
        ridge = self.ridge * torch.diag(design.square().sum(dim=0))
        displacement = target - source
        votes = confidence
        for _ in range(self.num_iterations):
            weighted = votes[..., None] * design
            normal = weighted.transpose(-1, -2) @ design + ridge
            change = torch.linalg.solve(normal, weighted.transpose(-1, -2) @ displacement)
            residual = (displacement - design @ change).square().sum(dim=-1)
            votes = confidence / (1 + residual / self.inlier_distance**2)
        return identity + change.transpose(-1, -2)


def _varying_part(x: Float[Tensor, "B T P C"]) -> Float[Tensor, "B T P C"]:
    """Return what changes at a position over the clip, as directions of length at most 1.

    What a position looks like on average says nothing about where content went. Where hardly
    anything changes (a static camera) the change is noise: its length is kept small, so that no
    match is made of it.
    """
    varying = x - x.mean(dim=1, keepdim=True)
    content = x - x.mean(dim=(1, 2), keepdim=True)
    energy = varying.square().sum(dim=-1, keepdim=True)
    floor = 0.1 * content.square().sum(dim=-1, keepdim=True)
    return varying * (energy + floor).clamp_min(1e-12).rsqrt()


def _moments(
    logits: Float[Tensor, "*batch P P"], centres: Float[Tensor, "P 2"]
) -> tuple[Float[Tensor, "*batch P 2"], Float[Tensor, "*batch P"]]:
    """Return mean and spread (patches squared) of where each patch is found."""
    matches = logits.softmax(dim=-1)
    mean = matches @ centres
    return mean, matches @ centres.square().sum(dim=-1) - mean.square().sum(dim=-1)

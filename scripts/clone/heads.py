"""The networks of the clone policy, and the files that they are kept in.

`Head` is the same for features and for raw pixels, up to the width of its first layer: both come
as 14 x 14 tokens, row by row. `LinearHead` is the cheapest thing that can be put on features.
The file of a head holds the fields that `examples/policy_head.py` keeps with a policy, so that
what receives features on a robot knows what they have to be made with.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors import SafetensorError
from torch import nn
from torch import Tensor

from clone.task import ACTION
from clone.task import CAMERA
from clone.task import IMAGE_PX
from clone.task import PERIOD_S
from clone.task import STATE
from theia_ros.catalog import BACKBONE
from theia_ros.catalog import PATCH_PX
from theia_ros.client import Origin
from theia_ros.client import Window
from theia_ros.datatypes import Provenance
from theia_ros.distil import files
from theia_ros.errors import ParameterError

GRID = IMAGE_PX // PATCH_PX
_CELLS = 7
"""Rows and columns that the linear head sees."""
_CHUNK = 128
"""Decisions that are turned into floats at a time."""


class Scale(nn.Module):
    """Numbers to mean 0 and deviation 1, channel by channel, and back."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer('mean', torch.zeros(channels))
        self.register_buffer('std', torch.ones(channels))

    def fit(self, values: Tensor) -> None:
        """Take mean and deviation of values (..., channels) of any type, chunk by chunk."""
        chunks = [v.double().flatten(0, -2) for v in values.split(_CHUNK)]
        count = sum(len(v) for v in chunks)
        mean = sum(v.sum(0) for v in chunks) / count
        variance = sum((v - mean).square().sum(0) for v in chunks) / count
        self.mean.copy_(mean)
        self.std.copy_(variance.sqrt().clamp_min(1e-4))  # a constant tells nothing

    def forward(self, values: Tensor) -> Tensor:
        return (values - self.mean) / self.std

    def back(self, values: Tensor) -> Tensor:
        return values * self.std + self.mean


class Policy(nn.Module):
    """What both heads have in common: scales, and actions from raw outputs."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.of_tokens, self.of_state = Scale(channels), Scale(len(STATE))
        self.of_move = Scale(len(ACTION) - 1)

    def fit_scales(self, tokens: Tensor, states: Tensor, actions: Tensor) -> None:
        """Take the scales of the training data."""
        self.of_tokens.fit(tokens)
        self.of_state.fit(states)
        self.of_move.fit(actions[:, :-1])

    def raw(self, tokens: Tensor, states: Tensor) -> Tensor:
        """Return what the head gives of (N, 196, C) and (N, 4), chunk by chunk, (N, 4)."""
        return torch.cat([self(t, s) for t, s in chunks(tokens, states)])

    @torch.inference_mode()
    def actions(self, tokens: Tensor, states: Tensor) -> Tensor:
        """Return actions (B, 4) as in `task.ACTION`, from (B, 196, C) and (B, 4)."""
        raw = self.raw(tokens, states)
        return torch.cat([self.of_move.back(raw[:, :-1]), (raw[:, -1:] > 0).float()], dim=1)


class Head(Policy):
    """Tokens and the robot's state to an action: eight soft looks at the grid, and two layers.

    A look is a weighted mean over the tokens; it tells what is there, and where that is.
    """

    def __init__(self, channels: int, width: int = 48, looks: int = 8, hidden: int = 128) -> None:
        super().__init__(channels)
        self.sizes = {'channels': channels, 'width': width, 'looks': looks, 'hidden': hidden}
        self.project = nn.Linear(channels, width)
        self.mix = nn.Linear(width, width)
        self.place = nn.Parameter(0.02 * torch.randn(GRID * GRID, width))
        self.score = nn.Linear(width, looks)
        self.layers = nn.Sequential(
            nn.Linear(looks * (width + 2) + len(STATE), hidden),
            nn.GELU(),
            nn.Dropout(0.1),
            nn.Linear(hidden, len(ACTION)),
        )
        line = torch.linspace(-1, 1, GRID)
        self.register_buffer('grid', torch.cartesian_prod(line, line), persistent=False)

    def forward(self, tokens: Tensor, states: Tensor) -> Tensor:
        """Return scaled moves and the logit of the grip, (B, 4)."""
        # Scale the few weights instead of the many tokens; it is the same.
        weight = self.project.weight / self.of_tokens.std
        bias = self.project.bias - weight @ self.of_tokens.mean
        x = F.gelu(F.linear(tokens, weight, bias) + self.place)
        x = x + F.gelu(self.mix(x))
        weights = self.score(x).softmax(dim=1).transpose(1, 2)  # (B, looks, N)
        seen = weights @ torch.cat([x, self.grid.expand(len(x), -1, -1)], dim=2)
        return self.layers(torch.cat([seen.flatten(1), self.of_state(states)], dim=1))


class LinearHead(Policy):
    """Means of the tokens over 7 x 7 cells and the state, times one matrix."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.sizes = {'channels': channels}
        self.last = nn.Linear(_CELLS * _CELLS * channels + len(STATE), len(ACTION))

    def inputs(self, tokens: Tensor, states: Tensor) -> Tensor:
        """Return what the matrix is applied to, (B, inputs)."""
        cells = self.of_tokens(tokens).transpose(1, 2).unflatten(2, (GRID, GRID))
        cells = F.adaptive_avg_pool2d(cells, _CELLS).flatten(1)
        # So that the few numbers of the state are not drowned by the many of the cells.
        return torch.cat([cells / _CELLS, 10 * self.of_state(states)], dim=1)

    def forward(self, tokens: Tensor, states: Tensor) -> Tensor:
        """Return scaled moves, and a grip that is positive for shut, (B, 4)."""
        return self.last(self.inputs(tokens, states))


HEADS: dict[str, type[Policy]] = {'features': Head, 'pixels': Head, 'linear': LinearHead}
"""By kind; `linear` is on features."""


def chunks(tokens: Tensor, states: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Give tokens of any type, as floats, and their states in chunks that fit into memory."""
    for t, s in zip(tokens.split(_CHUNK), states.split(_CHUNK), strict=True):
        yield t.float(), s


def pixel_tokens(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return pictures (B, 224, 224, 3) as the patches of the encoder, (B, 196, 768)."""
    shape = (-1, GRID, PATCH_PX, GRID, PATCH_PX, 3)
    patches = pictures.reshape(shape).transpose(0, 1, 3, 2, 4, 5)
    return np.ascontiguousarray(patches.reshape(len(pictures), GRID * GRID, -1))


def targets(policy: Policy, actions: Tensor) -> Tensor:
    """Return what a policy's raw outputs should be, (B, 4), the grip still 0 or 1."""
    return torch.cat([policy.of_move(actions[:, :-1]), actions[:, -1:]], dim=1)


def loss(raw: Tensor, wanted: Tensor) -> Tensor:
    """Return the mean square of the scaled moves, plus the cross entropy of the grip."""
    grip = F.binary_cross_entropy_with_logits(raw[:, -1], wanted[:, -1])
    return F.mse_loss(raw[:, :-1], wanted[:, :-1]) + grip


def origin_of(provenance: Provenance) -> Origin:
    """Return what features are made with, as clients compare it."""
    recipe = provenance.recipe
    return Origin(
        digest=recipe.digest,
        model=provenance.model,
        revision=provenance.revision,
        weights_sha256=recipe.weights_sha256,
        preprocessing=recipe.preprocessing,
        reduction=recipe.reduction,
        token_layout=recipe.token_layout,
        backend=recipe.backend,
        precision=recipe.precision,
        version=provenance.versions.get('theia_ros', ''),
    )


def save(path: Path, kind: str, policy: Policy, origin: Origin | None) -> None:
    """Write a policy: weights, and beside them what they were trained with."""
    setup = {
        'cameras': [CAMERA],
        'tensor': BACKBONE,
        'window': asdict(Window(1, PERIOD_S)),
        'origin': asdict(origin) if origin else None,
        'joints': [],
        'max_age_s': 0.5,
    }
    head = {'kind': kind, 'state': STATE, 'action': ACTION, 'sizes': policy.sizes}
    notes = {'setup': json.dumps(setup), 'head': json.dumps(head)}
    files.write_tensors(path, policy.state_dict(), notes)


def load(path: Path) -> tuple[Policy, dict[str, Any]]:
    """Read what `save` wrote.

    Returns:
        The policy, ready to act, and its setup: `cameras`, `tensor`, `window` (a `Window`),
        `origin` (an `Origin`, None for pixels), `joints` and `max_age_s`.

    Raises:
        ParameterError: It is not there, or not of this kind.
    """
    try:
        with safe_open(path, 'pt') as file:
            texts = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        setup, head = json.loads(texts['setup']), json.loads(texts['head'])
        if (head['state'], head['action']) != ([*STATE], [*ACTION]):
            raise ValueError(f'its action is {head["action"]}')
        policy = HEADS[head['kind']](**head['sizes'])
        policy.load_state_dict(weights)
        setup['window'] = Window(**setup['window'])
        setup['origin'] = Origin(**setup['origin']) if setup['origin'] else None
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as exc:
        raise ParameterError(f'{path} is no head of clone_policy: {exc}') from exc
    return policy.eval(), setup

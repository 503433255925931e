"""A small policy on frozen features: its network, its inputs, and the file that it is kept in.

Used by train_policy.py and policy_node.py, so that training and robot cannot differ.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn
from torch import Tensor

from theia_ros.client import Inbox
from theia_ros.client import joint_positions
from theia_ros.client import Observation
from theia_ros.client import Origin
from theia_ros.client import Window
from theia_ros.errors import ParameterError

COMMAND = ('linear.x', 'angular.z')
"""Of geometry_msgs/Twist, that the policy gives."""
_CELLS = 4
"""The grid is averaged to so many rows and columns."""


@dataclass(frozen=True)
class Setup:
    """What training and robot must have in common.

    Attributes:
        cameras: Names, as in the encoder's parameters.
        tensor: `theia`, or a teacher's name.
        window: Instants of an observation.
        origin: What the features were made with.
        joints: Names of joints whose positions the policy sees; none by default.
        max_age_s: Features that are older are no features.
    """

    cameras: tuple[str, ...]
    tensor: str
    window: Window
    origin: Origin | None
    joints: tuple[str, ...] = ()
    max_age_s: float = 0.5

    def inbox(self) -> Inbox:
        """Return what makes observations of messages."""
        inbox = Inbox(
            self.cameras,
            self.window,
            tensor=self.tensor,
            trained_with=self.origin,
            max_age_s=self.max_age_s,
        )
        self.follow(inbox.follow)
        return inbox

    def follow(self, follow: Callable) -> None:
        """Follow the joints, if there are any."""
        if self.joints:
            follow('joints', joint_positions(*self.joints))

    def inputs(self, observation: Observation) -> tuple[Tensor, Tensor]:
        """Return what the head takes: cells (cells, channels), and joints (steps x joints,)."""
        maps = np.concatenate([np.concatenate(observation.stack_maps(c)) for c in self.cameras])
        joints = observation.stack('joints') if self.joints else np.zeros(0, np.float32)
        return averaged(torch.from_numpy(maps)), torch.from_numpy(joints.reshape(-1))


class Head(nn.Module):
    """A few numbers for each cell of the grid, and the joints, to a command by two layers."""

    def __init__(self, channels: int, joints: int, numbers: int = 8, hidden: int = 64) -> None:
        """Make it without training, for so many channels of all maps, and joints of all steps."""
        super().__init__()
        self.register_buffer('mean', torch.zeros(channels))
        self.register_buffer('std', torch.ones(channels))
        self.of_cell = nn.Linear(channels, numbers)
        self.layers = nn.Sequential(
            nn.Linear(numbers * _CELLS**2 + joints, hidden),
            nn.ReLU(),
            nn.Linear(hidden, len(COMMAND)),
        )

    def forward(self, cells: Tensor, joints: Tensor) -> Tensor:
        """Return commands, (B, 2).

        Args:
            cells: What `averaged` makes of maps, (B, cells, channels).
            joints: (B, steps x joints).
        """
        seen = self.of_cell((cells - self.mean) / self.std)
        return self.layers(torch.cat([seen.flatten(1), joints], dim=1))


def averaged(maps: Tensor) -> Tensor:
    """Return the means of maps (channels, h, w) in cells of a small grid, (cells, channels)."""
    return F.adaptive_avg_pool2d(maps, _CELLS).flatten(1).T


def save(path: Path, head: Head, setup: Setup) -> None:
    """Write a policy: weights, and beside them what they were trained with."""
    origin = json.loads(setup.origin.to_json()) if setup.origin else None
    text = json.dumps({**asdict(setup), 'origin': origin})
    save_file(head.state_dict(), path, {'setup': text})


def load(path: Path) -> tuple[Head, Setup]:
    """Read what `save` wrote.

    Raises:
        ParameterError: It is not there, or no policy.
    """
    try:
        with safe_open(path, 'pt') as file:
            kept = json.loads(file.metadata()['setup'])
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        numbers, channels = weights['of_cell.weight'].shape
        hidden, inputs = weights['layers.0.weight'].shape
        head = Head(channels, inputs - numbers * _CELLS**2, numbers, hidden)
        head.load_state_dict(weights)
        kept['window'] = Window(**kept['window'])
        kept['origin'] = Origin(**kept['origin']) if kept['origin'] else None
        setup = Setup(**{k: tuple(v) if isinstance(v, list) else v for k, v in kept.items()})
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as exc:
        raise ParameterError(
            f'{path or "nothing"} is no policy of train_policy.py: {exc}'
        ) from exc
    return head.eval(), setup

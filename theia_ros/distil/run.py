"""The folder of a run: its settings, where it stands, its losses, and the model so far."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors import SafetensorError
from torch import Tensor
from torch.amp import GradScaler
from torch.optim import Optimizer

from theia_ros import checkpoint
from theia_ros.distil import files
from theia_ros.distil import statistics
from theia_ros.distil.config import difference
from theia_ros.errors import ParameterError
from theia_ros.errors import WeightsError
from theia_ros.model import TheiaModel
from theia_ros.parts import Statistics

MODEL = 'model'
"""Folder of the model, which the node loads."""
_SETTINGS, _STATE, _LOSSES = 'run.json', 'state.safetensors', 'losses.csv'

Row = Mapping[str, float]


class Run:
    """A run on disk.

    Attributes:
        folder: That it lies in.
        model: Folder of the model, as the node takes it.
        rows: The losses of each step so far.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        """Begin a run, or go on with the one that lies there.

        Args:
            folder: Need not exist.
            settings: All that decides the weights.

        Raises:
            ParameterError: Another run lies there, or nothing can be written.
        """
        self.folder, self.model = folder, folder / MODEL
        self.rows: list[Row] = []
        path = folder / _SETTINGS
        # Before its first checkpoint a run has nothing to lose.
        if path.is_file() and (self.model.exists() or (folder / _STATE).exists()):
            changed = difference(json.loads(path.read_text()), json.loads(json.dumps(settings)))
            if changed:
                raise ParameterError(
                    f'{folder} holds another run: {changed}; name another folder with --output, '
                    'or give the same settings to go on'
                )
        else:
            files.write(path, (json.dumps(settings, indent=2) + '\n').encode())

    def save(
        self,
        step: int,
        model: TheiaModel,
        optimizer: Optimizer,
        scaler: GradScaler,
        stats: Mapping[str, Statistics],
        notes: Mapping[str, Any],
    ) -> None:
        """Write the model for the node, and then everything that the next step depends on.

        Args:
            step: How many are done.
            model: The student.
            optimizer: Of its weights.
            scaler: Of its gradients.
            stats: Of the targets, by teacher.
            notes: More entries of the model's configuration.
        """
        parts = {
            name: one for t, s in stats.items() for name, one in statistics.files_of(t, s).items()
        }
        for name, content in (parts | checkpoint.files_of(model, extra=notes)).items():
            files.write(self.model / name, content)
        self._write_losses()
        learning = {name for name, p in model.named_parameters() if p.requires_grad}
        tensors = {f'model/{n}': t for n, t in model.state_dict().items() if n in learning}
        for i, state in optimizer.state_dict()['state'].items():
            tensors |= {f'optimizer/{i}/{key}': value for key, value in state.items()}
        tensors['rng/cpu'] = torch.get_rng_state()
        if torch.cuda.is_available():
            tensors['rng/cuda'] = torch.cuda.get_rng_state()
        # Last: a kill before it leaves the earlier state, and the run repeats some steps.
        about = {'step': str(step), 'scaler': json.dumps(scaler.state_dict())}
        files.write_tensors(self.folder / _STATE, tensors, about)

    def resume(self, model: TheiaModel, optimizer: Optimizer, scaler: GradScaler) -> int:
        """Put everything back as it was, and return how many steps are done.

        Raises:
            WeightsError: The state is damaged.
        """
        path = self.folder / _STATE
        if not path.is_file():
            return 0
        try:
            with safe_open(path, framework='pt') as file:
                about = file.metadata()
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as exc:
            raise WeightsError(
                f'{path} is damaged: {exc}; delete it to begin again, or take a copy of it'
            ) from exc
        model.load_state_dict(_below('model/', tensors), strict=False)
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in _below('optimizer/', tensors).items():
            number, _, name = key.partition('/')
            state.setdefault(int(number), {})[name] = value
        groups = optimizer.state_dict()['param_groups']
        optimizer.load_state_dict({'state': state, 'param_groups': groups})
        scaler.load_state_dict(json.loads(about['scaler']))
        torch.set_rng_state(tensors['rng/cpu'])
        if 'rng/cuda' in tensors and torch.cuda.is_available():
            torch.cuda.set_rng_state(tensors['rng/cuda'])
        step = int(about['step'])
        self.rows = self._read_losses(step)
        return step

    def _write_losses(self) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, list(self.rows[0]) if self.rows else ['step'])
        writer.writeheader()
        writer.writerows(self.rows)
        files.write(self.folder / _LOSSES, text.getvalue().encode())

    def _read_losses(self, step: int) -> list[Row]:
        with (self.folder / _LOSSES).open(newline='') as file:
            rows: Iterable[Mapping[str, str]] = list(csv.DictReader(file))
        found = [{key: float(value) for key, value in row.items()} for row in rows]
        return [{**row, 'step': int(row['step'])} for row in found if row['step'] <= step]


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

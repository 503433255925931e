"""The training loop."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from concurrent.futures import Future
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.amp import GradScaler
from torch.optim import AdamW

from theia_ros.distil.config import DistilConfig
from theia_ros.distil.data import Data
from theia_ros.distil.data import Progress
from theia_ros.distil.losses import losses_of
from theia_ros.distil.losses import total
from theia_ros.distil.run import Run
from theia_ros.distil.schedule import learning_rate
from theia_ros.distil.schedule import positions
from theia_ros.distil.statistics import normalise
from theia_ros.distil.teachers import CPU
from theia_ros.distil.teachers import Targets
from theia_ros.errors import EngineError
from theia_ros.model import TheiaModel
from theia_ros.parts import Statistics

_AHEAD = 2
"""Passes that are read from the disk while another one is computed."""
DTYPES = {'fp32': torch.float32, 'bf16': torch.bfloat16, 'fp16': torch.float16}

_Pass = tuple[Tensor, dict[str, Tensor]]
"""What the student is given, and what each head should make of it."""


@dataclass(frozen=True)
class Lessons:
    """What there is to learn.

    Attributes:
        data: All pictures.
        learned: Those to learn from.
        held_out: Those to judge by.
        targets: Of all pictures, by teacher.
        stats: Of the targets, by teacher; without an entry they are taken as they are.
        tokens: Of a frozen backbone; None where it learns.
    """

    data: Data
    learned: NDArray[np.int64]
    held_out: NDArray[np.int64]
    targets: Mapping[str, Targets]
    stats: Mapping[str, Statistics]
    tokens: Targets | None

    def inputs(self, pictures: NDArray[np.int64], device: torch.device) -> Tensor:
        """Return the pixels of pictures, or their tokens where the backbone is frozen."""
        if self.tokens:
            return self.tokens.rows(pictures, device)
        return self.data.pixels(pictures).to(device)

    def normalised(
        self, teacher: str, pictures: NDArray[np.int64], device: torch.device = CPU
    ) -> Tensor:
        """Return the targets of a head as it predicts them."""
        rows = self.targets[teacher].rows(pictures, device)
        return normalise(rows, self.stats[teacher]) if teacher in self.stats else rows


@contextmanager
def _same_bits_again() -> Iterator[None]:
    """Have torch take only kernels that give the same bits again.

    On CUDA, CUBLAS_WORKSPACE_CONFIG has to be set as well, before the first product.
    """
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


@_same_bits_again()
def train(
    config: DistilConfig,
    lessons: Lessons,
    student: TheiaModel,
    run: Run,
    save_every: int,
    progress: Progress,
) -> None:
    """Train the student, from where the run stands to its end.

    Args:
        config: Of the run.
        lessons: Pictures and targets.
        student: Before its first step, on its device.
        run: Takes and gives what goes on disk.
        save_every: Steps between two checkpoints; what a kill may cost.
        progress: Is told of it.

    Raises:
        EngineError: A loss is no number any more.
        ParameterError: The disk is full.
    """
    device, steps = student.backbone.norm.weight.device, config.steps_for(len(lessons.learned))
    notes = {'classes': lessons.data.classes, 'made_by': 'theia-ros distil'}
    optimizer = AdamW(_groups(student, config.weight_decay), betas=(0.9, 0.999))
    scaler = GradScaler(device.type, enabled=config.precision == 'fp16')
    torch.manual_seed(config.seed)
    done = run.resume(student, optimizer, scaler)
    student.train()
    wanted = (p for step in range(done, steps) for p in _passes(config, lessons.learned, step))
    passes = _read_ahead(lambda pictures: _read(lessons, pictures, device), wanted)
    for step in range(done, steps):
        rate = learning_rate(step, steps, config.highest_rate, config.warmup, config.schedule)
        for group in optimizer.param_groups:
            group['lr'] = rate
        losses = _backward(config, student, scaler, islice(passes, config.accumulate))
        row: dict[str, float] = {'step': step + 1, 'learning_rate': rate, **losses}
        if not np.isfinite(row['loss']):
            raise EngineError(
                f'the loss of step {step + 1} is {row["loss"]}; give a lower --learning-rate, or '
                '--precision fp32'
            )
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        run.rows.append(row)
        progress(f'training, loss {row["loss"]:.4f}', step + 1, steps)
        if (step + 1) % save_every == 0 or step + 1 == steps:
            run.save(step + 1, student, optimizer, scaler, lessons.stats, notes)
    student.eval()


def _backward(
    config: DistilConfig, student: TheiaModel, scaler: GradScaler, passes: Iterable[_Pass]
) -> dict[str, float]:
    """Add up the gradients of the passes of an update, and return its losses by name."""
    row = {'loss': 0.0}
    for inputs, targets in passes:
        device, reduced = inputs.device.type, config.precision != 'fp32'
        with torch.autocast(device, DTYPES[config.precision], reduced):
            predicted = predict(student, inputs)
        losses = {
            name: losses_of(name, tokens, targets[name]) for name, tokens in predicted.items()
        }
        loss = total(losses, config.loss) / config.accumulate
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        row['loss'] += float(loss.detach())
        for name, of_teacher in losses.items():
            for kind, value in of_teacher.items():
                key = f'{name}/{kind}'
                row[key] = row.get(key, 0.0) + float(value.detach()) / config.accumulate
    return row


def predict(student: TheiaModel, inputs: Tensor) -> dict[str, Tensor]:
    """Return what every head predicts, (B, N, C), from pixels or from tokens of the backbone."""
    if inputs.dtype != torch.uint8:
        return student.imitate(inputs, student.config.teachers)
    predicted: dict[str, Tensor] = student(inputs, student.config.teachers)
    return predicted


def _read(lessons: Lessons, pictures: NDArray[np.int64], device: torch.device) -> _Pass:
    targets = {name: lessons.normalised(name, pictures, device) for name in lessons.targets}
    return lessons.inputs(pictures, device), targets


def _read_ahead(
    read: Callable[[NDArray[np.int64]], _Pass], wanted: Iterable[NDArray[np.int64]]
) -> Iterator[_Pass]:
    """Give every pass in order, and read the next ones meanwhile."""
    with ThreadPoolExecutor(_AHEAD) as readers:
        waiting: deque[Future[_Pass]] = deque()
        for pictures in wanted:
            waiting.append(readers.submit(read, pictures))
            if len(waiting) > _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _passes(
    config: DistilConfig, learned: NDArray[np.int64], step: int
) -> Iterator[NDArray[np.int64]]:
    """Give the pictures of each pass of an update."""
    chosen = learned[positions(step, config.update_size, len(learned), config.seed)]
    return iter(np.split(chosen, config.accumulate))


def _groups(student: TheiaModel, weight_decay: float) -> list[dict[str, object]]:
    """Return what learns, in two groups: only tensors with two axes or more decay."""
    learning = [p for p in student.parameters() if p.requires_grad]
    return [
        {'params': [p for p in learning if p.ndim > 1], 'weight_decay': weight_decay},
        {'params': [p for p in learning if p.ndim <= 1], 'weight_decay': 0.0},
    ]

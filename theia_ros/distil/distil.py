"""A whole distillation: pictures, teachers, training, judgement; each goes on where it ended."""

from __future__ import annotations

import json
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from theia_ros.catalog import TARGETS
from theia_ros.distil import files
from theia_ros.distil import plot
from theia_ros.distil import student as students
from theia_ros.distil.config import DistilConfig
from theia_ros.distil.data import Data
from theia_ros.distil.data import prepare
from theia_ros.distil.data import Progress
from theia_ros.distil.evaluate import as_markdown
from theia_ros.distil.evaluate import evaluate
from theia_ros.distil.evaluate import Table
from theia_ros.distil.run import Run
from theia_ros.distil.sources import Reading
from theia_ros.distil.statistics import measure
from theia_ros.distil.teachers import collect
from theia_ros.distil.teachers import FrozenBackbone
from theia_ros.distil.teachers import key_of
from theia_ros.distil.teachers import open_teacher
from theia_ros.distil.train import Lessons
from theia_ros.distil.train import train
from theia_ros.engine.source import Source
from theia_ros.errors import EngineError
from theia_ros.errors import ParameterError

EVALUATION, PLOT = 'evaluation', 'losses.png'


@dataclass(frozen=True)
class Job:
    """Where pictures and teachers come from, and where everything goes.

    Attributes:
        learned: Files and folders to learn from.
        held_out: Files and folders to judge by; none: a part of the others.
        reading: How pictures are taken from videos and bags.
        folders: Of the weights of teachers that are not taken from where they are published.
        cache: Folder of pictures and targets, which serve many runs.
        output: Folder of the run.
        device: That everything runs on.
        save_every: Steps between two checkpoints; what a kill may cost.
    """

    learned: Sequence[Path]
    held_out: Sequence[Path]
    reading: Reading
    folders: Mapping[str, str]
    cache: Path
    output: Path
    device: torch.device
    save_every: int = 200


@dataclass(frozen=True)
class Outcome:
    """What came of a run.

    Attributes:
        run: Its folder and losses.
        lessons: What it learned from.
        table: How good it is; empty where no picture was held out.
        plotted: Whether there is a picture of the losses.
    """

    run: Run
    lessons: Lessons
    table: Table
    plotted: bool


def distil(config: DistilConfig, job: Job, progress: Progress) -> Outcome:
    """Make a model, or finish one that was begun, and judge it.

    Raises:
        TheiaRosError: A setting, a picture, a teacher or a file is not as it must be.
    """
    try:
        return _distil(config, job, progress)
    except torch.OutOfMemoryError as exc:
        raise EngineError(
            f'{job.device} has too little memory for {config.batch_size} pictures at once; give '
            'a lower --batch-size and a higher --accumulate'
        ) from exc


def _distil(config: DistilConfig, job: Job, progress: Progress) -> Outcome:
    if config.precision == 'fp16' and job.device.type == 'cpu':
        raise ParameterError('--precision fp16 needs a GPU; use bf16 or fp32')
    # Mistakes are told before hours of work.
    teachers = {n: open_teacher(n, job.folders.get(n, ''), job.device) for n in config.teachers}
    student = students.make(config).to(job.device)
    data = prepare(job.learned, job.held_out, job.reading, job.cache, progress)
    learned, held_out = data.split(config.held_out)
    _check(config, data, len(learned))
    settings = config.entries() | {
        'pictures': data.key,
        'targets': {name: key_of(one, data) for name, one in teachers.items()},
        'init_sha256': Source(config.init).weights_sha256 if config.init else '',
    }
    run = Run(job.output, settings)
    targets = {name: collect(one, data, job.cache, progress) for name, one in teachers.items()}
    tokens = None
    if config.train == 'heads':
        frozen = FrozenBackbone(Source(config.init), job.device)
        tokens = collect(frozen, data, job.cache, progress)
    stats = students.known_statistics(config)
    for name, one in targets.items():
        if name != 'classes' and name not in stats:
            stats[name] = measure(name, one, learned, progress)
    lessons = Lessons(data, learned, held_out, targets, stats, tokens)
    train(config, lessons, student, run, job.save_every, progress)
    plotted = plot.losses(run.rows, run.folder / PLOT)
    table = evaluate(config, lessons, student, progress) if len(held_out) else {}
    if table:
        about = {'pictures': len(held_out), 'learned_from': len(learned), 'figures': table}
        files.write(run.folder / f'{EVALUATION}.json', json.dumps(about, indent=2).encode())
        files.write(run.folder / f'{EVALUATION}.md', as_markdown(table).encode())
    return Outcome(run, lessons, table, plotted)


def _check(config: DistilConfig, data: Data, learned: int) -> None:
    if not learned:
        raise ParameterError(
            f'all of {len(data)} pictures are held out; give more, or --held-out 0'
        )
    of_truth = [name for name in config.teachers if TARGETS[name].key.startswith('simulator/')]
    if of_truth and not data.has_truth:
        raise ParameterError(
            f'the teacher {of_truth[0]} is the truth of a simulator, and no video has one beside '
            'it: NAME_truth.npz, as scripts/render_clip.py writes it'
        )

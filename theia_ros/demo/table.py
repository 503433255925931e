"""The demo model with heads: the demo backbone, and depth and classes of the rendered table.

The heads are in the repository, in half precision: `models/demo-table`. `prepare` puts them on the
backbone that `model.py` makes, and stores the whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from theia_ros.catalog import cache_folder
from theia_ros.catalog import model_folder
from theia_ros.demo import model as backbone
from theia_ros.errors import WeightsError

NAME = 'demo-table'
HEADS_FILE = 'heads.safetensors'
_SOURCE, _WEIGHTS = 'SOURCE.json', 'model.safetensors'


def folder() -> Path:
    """Return where the whole model is, or shall be."""
    return cache_folder() / 'models' / NAME


def shipped() -> Path:
    """Return the folder with the heads, in the repository or in an installed package.

    Raises:
        WeightsError: It is in neither.
    """
    prefixes = [*os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep), sys.prefix]
    roots = [Path(__file__).parents[2], *(Path(p, 'share', 'theia_ros') for p in prefixes if p)]
    for root in roots:
        if (root / 'models' / NAME / HEADS_FILE).is_file():
            return root / 'models' / NAME
    raise WeightsError(
        f'models/{NAME}/{HEADS_FILE} is neither beside the package nor in '
        f'{", ".join(str(root) for root in roots[1:])}; use a whole copy of the repository'
    )


def prepare(*, report: Callable[[str], None]) -> Path:
    """Make the model, or return at once when it is there.

    Args:
        report: Gets one line for people at each stage.

    Returns:
        Its folder.

    Raises:
        WeightsError: The backbone cannot be had, or the disk is full.
    """
    made, heads = folder(), shipped()
    source = _source(heads)
    if not _is_there(made, source):
        base = model_folder(backbone.NAME)
        backbone.prepare(base, report=report)
        _join(base, heads, made, source)
    report(f'{NAME}: ready in {made}')
    return made


def _source(heads: Path) -> str:
    """Return what the model is made of, as a text."""
    parts = {
        str(path.relative_to(heads)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(heads.rglob('*'))
        if path.suffix in ('.json', '.npy', '.safetensors')
    }
    made_of = {'name': NAME, 'backbone_sha256': backbone.WEIGHTS_SHA256, 'heads_sha256': parts}
    return json.dumps(made_of, indent=2) + '\n'


def _is_there(made: Path, source: str) -> bool:
    try:
        return (made / _SOURCE).read_text() == source and (made / _WEIGHTS).stat().st_size > 0
    except OSError:
        return False


def _join(base: Path, heads: Path, made: Path, source: str) -> None:
    from safetensors.numpy import load_file
    from safetensors.numpy import save_file

    tensors = load_file(base / _WEIGHTS)
    stored = load_file(heads / HEADS_FILE)
    tensors |= {key: values.astype(np.float32) for key, values in stored.items()}
    try:
        made.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f'.{NAME}.', dir=made.parent) as scratch:
            new = Path(scratch) / NAME
            new.mkdir()
            shutil.copy(heads / 'config.json', new)
            shutil.copytree(heads / 'statistics', new / 'statistics')
            save_file(tensors, new / _WEIGHTS, metadata={'format': 'pt'})
            (new / _SOURCE).write_text(source)
            if made.exists():
                made.rename(Path(scratch) / 'old')
            new.rename(made)
    except OSError as exc:
        if _is_there(made, source):  # another process made it meanwhile
            return
        raise WeightsError(
            f'{made} cannot be written: {exc.strerror}; make room or permit it, or name another '
            'folder with THEIA_ROS_CACHE'
        ) from exc

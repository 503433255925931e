"""Cut pictures out of the colour photographs that scikit-image and scikit-learn ship.

  python scripts/demo_tiny/photo_crops.py FOLDER [CROPS]

Each photograph gives CROPS pictures (default 200) of 10 to 100 % of its area, half of them
mirrored, drawn from a seed. They teach an encoder that the world is more than one rendered room.
FOLDER must not exist; it appears when all pictures are made.

needs: pip install scikit-image scikit-learn
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
from PIL import Image

SKIMAGE = ('astronaut', 'chelsea', 'coffee', 'rocket')
SKLEARN = ('china.jpg', 'flower.jpg')
SEED = 0
LEAST_AREA, MOST_PX = 0.1, 480


def main(folder: Path, crops: int) -> None:
    if folder.exists():
        sys.exit(f'photo_crops: {folder} is there already; give another folder, or delete it')
    found = photographs()
    part = folder.with_name(f'{folder.name}.part')
    shutil.rmtree(part, ignore_errors=True)  # of a killed run
    part.mkdir(parents=True)
    rng = np.random.default_rng(SEED)
    for name, rgb in found.items():
        for number in range(crops):
            crop(rgb, rng).save(part / f'{name}_{number:03d}.jpg', 'jpeg', quality=92)
    part.replace(folder)
    print(f'{folder}: {len(found)} photographs, {crops * len(found)} pictures')


def photographs() -> dict[str, np.ndarray]:
    """Return the photographs, each (H, W, 3) uint8, by name."""
    from skimage import data
    from sklearn.datasets import load_sample_image

    found = {name: getattr(data, name)() for name in SKIMAGE}
    return found | {name.partition('.')[0]: load_sample_image(name) for name in SKLEARN}


def crop(rgb: np.ndarray, rng: np.random.Generator) -> Image.Image:
    """Return a part of a photograph (H, W, 3), with sides as 3 : 4 up to 4 : 3 of its own."""
    h, w = rgb.shape[:2]
    side, stretch = np.sqrt(rng.uniform(LEAST_AREA, 1)), np.sqrt(rng.uniform(3 / 4, 4 / 3))
    rows, columns = (round(min(n, n * side * s)) for n, s in ((h, stretch), (w, 1 / stretch)))
    y, x = rng.integers(h - rows + 1), rng.integers(w - columns + 1)
    picture = Image.fromarray(rgb[y : y + rows, x : x + columns])
    picture.thumbnail((MOST_PX, MOST_PX))
    return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else picture


if __name__ == '__main__':
    if not 2 <= len(sys.argv) <= 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) == 3 else 200)

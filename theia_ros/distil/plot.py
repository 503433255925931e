"""The losses of a run as a picture."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from theia_ros.distil import files
from theia_ros.distil.run import Row

_POINTS = 200


def losses(rows: Sequence[Row], path: Path) -> bool:
    """Draw every loss over the steps, and return whether there was anything to draw with.

    Args:
        rows: One for each step.
        path: Of the PNG file.

    Raises:
        ParameterError: The file cannot be written.
    """
    if not rows or not find_spec('matplotlib'):
        return False
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    names = [name for name in rows[0] if name != 'step']
    columns = 3
    lines = math.ceil(len(names) / columns)
    size = (4 * columns, 2.6 * lines)
    figure, axes = pyplot.subplots(
        lines, columns, figsize=size, squeeze=False, layout='constrained'
    )
    # Means of neighbours: a curve of points, each of a few pictures, hides what happens.
    width = max(1, len(rows) // _POINTS)
    steps = _means([row['step'] for row in rows], width)
    for one, name in zip(axes.flat, names, strict=False):
        one.plot(steps, _means([row[name] for row in rows], width), linewidth=1)
        one.set_title(name, fontsize='medium')
    for one in axes.flat[len(names) :]:
        one.axis('off')
    content = io.BytesIO()
    figure.savefig(content, dpi=100, format='png')
    pyplot.close(figure)
    files.write(path, content.getvalue())
    return True


def _means(values: Sequence[float], width: int) -> list[float]:
    whole = len(values) // width * width
    return [float(v) for v in np.reshape(values[:whole], (-1, width)).mean(axis=1)]

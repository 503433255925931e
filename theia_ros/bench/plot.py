"""The figures as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from theia_ros.errors import first_line
from theia_ros.errors import ParameterError

SUFFIXES = ('.png', '.svg', '.pdf')
_STEPS = ('preprocess', 'compute', 'copy_back')


def require() -> None:
    """Refuse early if there is nothing to plot with.

    Raises:
        ParameterError: matplotlib cannot be imported.
    """
    try:
        import_module('matplotlib.pyplot')
    except Exception as exc:  # a broken one raises more than ImportError
        raise ParameterError(
            f"--plot needs matplotlib ({first_line(exc)}); run: pip install 'theia_ros[bench]'"
        ) from exc


def write(document: Mapping[str, Any], path: Path) -> None:
    """Draw a document of either kind.

    Raises:
        ParameterError: The file cannot be written.
    """
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    figure = {'encoder': _encoder, 'ros': _ros}[document['kind']](document, pyplot)
    hardware = document['hardware']
    figure.suptitle(
        f'{document["model"]} on {hardware["gpu"] or hardware["cpu"]}, {hardware["cores"]} cores'
    )
    try:
        figure.savefig(path, dpi=120)
    except OSError as exc:
        raise ParameterError(f'{path} cannot be written: {exc.strerror}') from exc
    finally:
        pyplot.close(figure)


def _encoder(document: Mapping[str, Any], pyplot: Any) -> Any:
    """Axes for each case: the steps of each contender one after another, and its p99."""
    cases = list(dict.fromkeys((r['outputs'], r['batch']) for r in document['rows']))
    figure, axes = pyplot.subplots(
        len(cases), 1, figsize=(9, 1 + 1.7 * len(cases)), squeeze=False, layout='constrained'
    )
    for one, (outputs, batch) in zip(axes[:, 0], cases, strict=True):
        rows = [r for r in document['rows'] if (r['outputs'], r['batch']) == (outputs, batch)]
        names = [f'{r["contender"]}  x{r["times_baseline"]:.2f}' for r in rows]
        left = [0.0] * len(rows)
        for step in _STEPS:
            widths = [r['steps'][step]['p50_ms'] for r in rows]
            one.barh(names, widths, left=left, label=step)
            left = [a + b for a, b in zip(left, widths, strict=True)]
        one.plot([r['features']['p99_ms'] for r in rows], names, 'k|', markersize=12, label='p99')
        one.invert_yaxis()
        one.set_title(f'{outputs}, batch {batch}', loc='left', fontsize='medium')
        one.set_xlabel('ms, medians of the steps')
    axes[0, 0].legend(fontsize='small')
    return figure


def _ros(document: Mapping[str, Any], pyplot: Any) -> Any:
    """Latency over rate, one line for each engine and number of cameras."""
    figure, axes = pyplot.subplots(figsize=(9, 5), layout='constrained')
    lines: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for row in document['rows']:
        lines.setdefault((row['engine'], row['cameras']), []).append(row)
    for (engine, cameras), rows in lines.items():
        rows.sort(key=lambda r: float(r['sent_hz']))
        rates = [r['sent_hz'] for r in rows]
        label = f'{engine}, {cameras} camera{"s" if cameras > 1 else ""}'
        (line,) = axes.plot(rates, [r['latency']['p50_ms'] for r in rows], 'o-', label=label)
        worst = [r['latency']['p99_ms'] for r in rows]
        axes.plot(rates, worst, ':', color=line.get_color())
    axes.set_yscale('log')
    axes.set_xlabel('images of each camera a second')
    axes.set_ylabel('image stamp to features received, ms: p50, dotted p99')
    axes.legend(fontsize='small')
    return figure

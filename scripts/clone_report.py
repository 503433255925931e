"""The figures of the clone policy for people: a table and a strip of pictures."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL import ImageDraw
from PIL import ImageFont

NAMES = {
    'features': 'head on features',
    'pixels': 'same head on raw pixels',
    'linear': 'linear on features',
}
_TILES, _TILE_PX, _GAP_PX, _LINE_PX = 8, 150, 3, 22
_INK, _PAPER = (20, 20, 20), (255, 255, 255)


def summary(seeds: list[dict[str, Any]]) -> dict[str, Any]:
    """Return mean and sample deviation over the seeds of what counts; none for one seed."""
    rows = {
        'success': [share(seed['episodes'], 'done') for seed in seeds],
        'lifted': [share(seed['episodes'], 'lifted') for seed in seeds],
        'move_error_mm': [seed['move_error_mm'] for seed in seeds],
        'grip_right': [seed['grip_right'] for seed in seeds],
    }
    return {
        name: {
            'mean': round(statistics.fmean(values), 4),
            'std': round(statistics.stdev(values), 4) if len(values) > 1 else None,
            'of_seeds': [round(value, 4) for value in values],
        }
        for name, values in rows.items()
    }


def share(episodes: list[dict[str, Any]], what: str) -> float:
    """Return the share of episodes of which something holds."""
    return sum(episode[what] for episode in episodes) / len(episodes)


def table(results: dict[str, Any]) -> str:
    """Return the results as a table in Markdown."""
    data, rows = results['data'], []
    done, played = data['expert_done']['held-out'], data['expert_played']['held-out']
    rows.append(['the expert, which sees the true state', '', f'{100 * done / played:.0f} %'])
    rows[0] += ['', '', '']
    for kind, entry in results['results'].items():
        rows.append(
            [
                NAMES[kind],
                f'{entry["parameters"]:,}',
                _percent(entry['success']),
                _percent(entry['lifted']),
                _with_spread(entry['move_error_mm'], '{:.1f}'),
                _percent(entry['grip_right'], 1),
            ]
        )
    head = ['policy', 'parameters', 'in the tray', 'lifted', 'error of a move, mm', 'grip right']
    lines = ['| ' + ' | '.join(row) + ' |' for row in [head, *rows]]
    lines.insert(1, '|---|---|---|---|---|---|')
    return '\n'.join(line.replace('|  ', '| ') for line in lines) + '\n'


def _percent(entry: dict[str, Any], digits: int = 0) -> str:
    wide = {k: 100 * entry[k] if entry[k] is not None else None for k in ('mean', 'std')}
    return _with_spread(wide, f'{{:.{digits}f}}') + ' %'


def _with_spread(entry: dict[str, Any], form: str) -> str:
    mean = form.format(entry['mean'])
    return mean if entry['std'] is None else f'{mean} ± {form.format(entry["std"])}'


def filmstrip(evaluations: Path, results: dict[str, Any], path: Path) -> None:
    """Draw the first held-out episode, as played with seed 0 of each head."""
    rows = []
    for kind, entry in results['results'].items():
        with np.load(evaluations / f'{kind}-film.npz') as file:
            film = file['film']
        episode = entry['seeds'][0]['episodes'][0]
        end = 'in the tray' if episode['done'] else 'not in the tray'
        rows.append((f'{NAMES[kind]}: {end} after {episode["decisions"]} decisions', film))
    step, height = _TILE_PX + _GAP_PX, _LINE_PX + _TILE_PX + _GAP_PX
    sheet = Image.new('RGB', (_TILES * step - _GAP_PX, len(rows) * height), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=14)
    for r, (label, film) in enumerate(rows):
        draw.text((2, r * height + 3), label, fill=_INK, font=font)
        # The ends always, and what lies evenly between them.
        wanted = np.linspace(0, len(film) - 1, min(_TILES, len(film))).round().astype(int)
        for c, i in enumerate(wanted):
            tile = Image.fromarray(film[i]).resize((_TILE_PX, _TILE_PX))
            sheet.paste(tile, (c * step, r * height + _LINE_PX))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, 'JPEG' if path.suffix in ('.jpg', '.jpeg') else None, quality=88)

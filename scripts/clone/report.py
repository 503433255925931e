"""The figures of the clone policy for people: a table and a strip of pictures."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
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
    """Return mean and sample deviation over the seeds of what counts; none for one seed.

    There are successes only where every seed has played.
    """
    rows = {name: [seed[name] for seed in seeds] for name in ('move_error_mm', 'grip_right')}
    if all('episodes' in seed for seed in seeds):
        rows['success'] = [share(seed['episodes'], 'done') for seed in seeds]
        rows['lifted'] = [share(seed['episodes'], 'lifted') for seed in seeds]
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
    data, found = results['data'], results['results']
    played = any('success' in entry for entry in found.values())
    head = ['policy', 'parameters', 'error of a move, mm', 'grip right']
    guessed = data['guess']
    rows = [
        [
            'always the mean move',
            '',
            f'{guessed["move_error_mm"]:.1f}',
            f'{100 * guessed["grip_right"]:.1f} %',
        ]
    ]
    for kind, entry in found.items():
        rows.append(
            [
                NAMES[kind],
                f'{entry["parameters"]:,}',
                _with_spread(entry['move_error_mm'], '{:.1f}'),
                _percent(entry['grip_right'], 1),
            ]
        )
    if played:
        head += ['lifted', 'in the tray']
        rows[0] += ['', '']
        for row, entry in zip(rows[1:], found.values(), strict=True):
            row += [_percent(entry[n]) if n in entry else '' for n in ('lifted', 'success')]
        done, of = data['expert_done']['held-out'], data['expert_played']['held-out']
        rows.append(['the expert', '', '', '', '', f'{100 * done / of:.0f} %'])
    rule = ['---'] * len(head)
    return ''.join('| ' + ' | '.join(row) + ' |\n' for row in [head, rule, *rows])


def _percent(entry: dict[str, Any], digits: int = 0) -> str:
    wide = {k: 100 * entry[k] if entry[k] is not None else None for k in ('mean', 'std')}
    return _with_spread(wide, f'{{:.{digits}f}}') + ' %'


def _with_spread(entry: dict[str, Any], form: str) -> str:
    mean = form.format(entry['mean'])
    return mean if entry['std'] is None else f'{mean} ± {form.format(entry["std"])}'


_Row = tuple[str, NDArray[np.uint8], list[str]]
"""Of the filmstrip: a title, pictures (F, H, W, 3), and a note on each of them."""


def filmstrip(episodes: Path, evaluations: Path, results: dict[str, Any], path: Path) -> None:
    """Draw the first held-out episode.

    First what the policy sees while the expert acts, each picture with how far the moves of the
    heads of seed 0 are from the expert's; then, if they played, the heads themselves.
    """
    rows = [_expert_row(episodes, results), *_played_rows(evaluations, results)]
    step, height = _TILE_PX + _GAP_PX, _LINE_PX + _TILE_PX + _GAP_PX
    sheet = Image.new('RGB', (_TILES * step - _GAP_PX, len(rows) * height), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=14)
    for r, (title, pictures, notes) in enumerate(rows):
        draw.text((2, r * height + 3), title, fill=_INK, font=font)
        # The ends always, and what lies evenly between them.
        wanted = np.linspace(0, len(pictures) - 1, min(_TILES, len(pictures))).round().astype(int)
        for c, i in enumerate(wanted):
            at = c * step, r * height + _LINE_PX
            sheet.paste(Image.fromarray(pictures[i]).resize((_TILE_PX, _TILE_PX)), at)
            if notes[i]:
                box = draw.textbbox((at[0] + 4, at[1] + 3), notes[i], font=font)
                draw.rectangle((box[0] - 3, box[1] - 2, box[2] + 3, box[3] + 2), fill=_PAPER)
                draw.text((at[0] + 4, at[1] + 3), notes[i], fill=_INK, font=font)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, 'JPEG' if path.suffix in ('.jpg', '.jpeg') else None, quality=88)


def _expert_row(episodes: Path, results: dict[str, Any]) -> _Row:
    with np.load(episodes / 'held-out-0000.npz') as file:
        pictures = file['pictures']
    found = results['results']
    title = 'the expert, as the camera at the hand sees it; errors of the moves in mm: '
    title += ', '.join(NAMES[kind] for kind in found)
    errors_mm = [entry['seeds'][0]['first_errors_mm'] for entry in found.values()]
    notes = [', '.join(f'{e[i]:.0f}' for e in errors_mm) for i in range(len(pictures))]
    return title, pictures, notes


def _played_rows(evaluations: Path, results: dict[str, Any]) -> Iterator[_Row]:
    for kind, entry in results['results'].items():
        first = entry['seeds'][0]
        if 'episodes' not in first:
            continue
        with np.load(evaluations / f'{kind}-film.npz') as file:
            film = file['film']
        end = 'in the tray' if first['episodes'][0]['done'] else 'not in the tray'
        decisions = first['episodes'][0]['decisions']
        yield f'{NAMES[kind]}: {end} after {decisions} decisions', film, [''] * len(film)

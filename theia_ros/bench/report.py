"""The figures for people: plain text, aligned."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

_STEPS = ('preprocess', 'compute', 'copy_back', 'decode', 'message')


def text(document: Mapping[str, Any]) -> str:
    """Return the tables of a document of either kind."""
    hardware, load = document['hardware'], document['load']
    busy = load['before'][0] > hardware['cores'] / 2
    head = [
        f'{document["model"]} on {hardware["gpu"] or hardware["cpu"]}, {hardware["cores"]} cores, '
        f'load {load["before"][0]} before and {load["after"][0]} after',
    ]
    if busy:
        head.append('The machine was busy before: these figures, and ratios too, mean little.')
    kinds = {'encoder': _encoder, 'ros': _ros, 'segmentation': _segmentation}
    tables = kinds[document['kind']](document)
    return '\n\n'.join([*head, *tables])


def _segmentation(document: Mapping[str, Any]) -> list[str]:
    rows = [('ORDER', 'ms a point', 'x naive')]
    for name, ms in document['ms_per_point'].items():
        rows.append((name, _ms(ms), f'{document["ms_per_point"]["naive"] / ms:.2f}'))
    found = (
        f'{document["points"]} points, {document["masks"]} masks kept; of '
        f'{document["masks_compared"]} masks {document["pixels_that_differ"]:.1e} of the pixels '
        'differ between the orders'
    )
    return [found, table(rows)]


def _encoder(document: Mapping[str, Any]) -> list[str]:
    blocks = [_contenders(document)]
    by_case: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for row in document['rows']:
        by_case.setdefault((row['outputs'], row['batch']), []).append(row)
    for (outputs, batch), rows in by_case.items():
        lines = [
            (
                'CONTENDER',
                *('p50 ms', 'p95 ms', 'p99 ms', 'x baseline', 'pictures/s'),
                *(f'{step} ms' for step in _STEPS),
            )
        ]
        for row in rows:
            features, steps = row['features'], row['steps']
            lines.append(
                (
                    row['contender'],
                    *(_ms(features[key]) for key in ('p50_ms', 'p95_ms', 'p99_ms')),
                    f'{row["times_baseline"]:.2f}',
                    f'{row["pictures_per_s"]:.1f}',
                    *(_ms(steps[step]['p50_ms']) if step in steps else '-' for step in _STEPS),
                )
            )
        rounds = rows[0]['features']['count']
        blocks.append(f'{outputs}, batch {batch}, {rounds} rounds\n{table(lines)}')
    blocks.append(
        'p50, p95 and p99 are from pictures to features on the host; steps are medians. compute\n'
        'includes the transfer to the device. x baseline above 1 is faster than the published way.'
    )
    return blocks


def _contenders(document: Mapping[str, Any]) -> str:
    lines = [('CONTENDER', 'STATE', 'cosine', 'rel. error', 'max error', 'start-up s', 'peak MB')]
    notes: dict[str, list[str]] = {}
    for one in document['contenders']:
        if one['reason']:
            notes.setdefault(one['reason'], []).append(one['name'])
        if one['state'] == 'not available':
            continue
        errors, fresh = one['errors'].values(), one['fresh']
        lines.append(
            (
                one['name'],
                one['state'],
                f'{min(e["cosine"] for e in errors):.7f}' if errors else '-',
                f'{max(e["relative_error"] for e in errors):.1e}' if errors else '-',
                f'{max(e["max_abs_error"] for e in errors):.1e}' if errors else '-',
                f'{fresh["startup_s"]:.2f}' if fresh else '-',
                f'{fresh["peak_mb"]:.0f}' if fresh else '-',
            )
        )
    told = [f'{", ".join(names)}: {reason}' for reason, names in notes.items()]
    return '\n'.join([table(lines), *told])


def _ros(document: Mapping[str, Any]) -> list[str]:
    lines = [
        (
            *('ENGINE', 'cameras', 'rate Hz', 'sent Hz', 'features Hz', 'lost %'),
            *('p50 ms', 'p95 ms', 'p99 ms', 'overhead ms', 'compute ms', 'CPU cores'),
        )
    ]
    for row in document['rows']:
        latency = row['latency']
        lines.append(
            (
                row['engine'],
                str(row['cameras']),
                'max' if row['search'] else f'{row["rate_hz"]:g}',
                f'{row["sent_hz"]:.1f}',
                f'{row["features_hz"]:.1f}',
                f'{100 * row["lost_part"]:.1f}',
                *(_ms(latency[key]) for key in ('p50_ms', 'p95_ms', 'p99_ms')),
                _ms(row['node_overhead_ms']),
                _ms(row['steps']['compute']['p50_ms']),
                f'{row["node_cpu_cores"]:.2f}',
            )
        )
    nodes = [('ENGINE', 'cameras', 'start-up s', 'peak MB', 'device')]
    nodes += [
        (
            node['engine'],
            str(node['cameras']),
            f'{node["startup_s"]:.1f}',
            f'{node["peak_mb"]:.0f}',
            node['device'],
        )
        for node in document['nodes']
    ]
    return [
        table(lines),
        table(nodes),
        'Rates are of each camera; max is the highest with under 5 % lost. p50, p95 and p99 are\n'
        'from the stamp of an image to its features in the subscriber. overhead is from the\n'
        'arrival of an image in the node to its published features, less compute, medians.',
    ]


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return aligned columns: names to the left, figures to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    right = [_is_figure(rows[-1][i]) for i in range(len(widths))]
    return '\n'.join(
        '  '.join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in rows
    )


def _is_figure(cell: str) -> bool:
    return cell == '-' or cell[:1].isdigit() or cell == 'max'


def _ms(value: float) -> str:
    return f'{value:.2f}' if value < 10 else f'{value:.1f}'

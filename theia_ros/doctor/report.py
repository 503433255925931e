"""Findings for people and for programs."""

from __future__ import annotations

import datetime
import json
import math
import platform
from collections.abc import Sequence
from typing import Any

import theia_ros
from theia_ros.doctor.finding import Finding
from theia_ros.doctor.finding import Level
from theia_ros.doctor.finding import worst

_WORDS = {Level.OK: 'ok', Level.WARNING: 'warning', Level.ERROR: 'ERROR'}
_COLOURS = {Level.OK: '\x1b[32m', Level.WARNING: '\x1b[33m', Level.ERROR: '\x1b[31;1m'}
_PLAIN = '\x1b[0m'
_INDENT = ' ' * 11


def lines(finding: Finding, *, coloured: bool = False) -> list[str]:
    """Return a finding as lines: what was found, what is wrong, and what cures it."""
    word = _WORDS[finding.level].ljust(7)
    if coloured:
        word = f'{_COLOURS[finding.level]}{word}{_PLAIN}'
    told = [f'  {word}  {finding.name}: {_one_line(finding.found)}']
    if finding.wrong:
        told.append(f'{_INDENT}{_one_line(finding.wrong)}')
    for i, cure in enumerate(finding.cures):
        told.append(f'{_INDENT}{"cure:" if i == 0 else "or:  "} {cure}')
    return told


def verdict(findings: Sequence[Finding]) -> str:
    """Return the last line: how many of each level, and whether the node would run."""
    errors = sum(f.level is Level.ERROR for f in findings)
    warnings = sum(f.level is Level.WARNING for f in findings)
    runs = 'would not run' if worst(findings) is Level.ERROR else 'would run'
    return f'{_count(errors, "error")}, {_count(warnings, "warning")}: the encoder node {runs}'


def document(findings: Sequence[tuple[str, Finding]]) -> str:
    """Return everything as JSON; numbers that are not finite become null."""
    plain = {
        'theia_ros': theia_ros.__version__,
        'date': datetime.datetime.now(datetime.timezone.utc).isoformat(timespec='seconds'),
        'platform': platform.platform(),
        'would_run': worst([f for _, f in findings]) is not Level.ERROR,
        'findings': [
            {
                'group': group,
                'name': f.name,
                'level': f.level.name.lower(),
                'found': f.found,
                'wrong': f.wrong,
                'cures': list(f.cures),
                'figures': {name: _finite(value) for name, value in f.figures.items()},
            }
            for group, f in findings
        ],
    }
    return json.dumps(plain, indent=2, allow_nan=False) + '\n'


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _count(number: int, word: str) -> str:
    return f'{number} {word}{"" if number == 1 else "s"}'


def _one_line(text: str) -> str:
    return ' '.join(text.split())

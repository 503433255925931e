"""Every promise of docs/reliability.md has a test, and the test is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / 'docs' / 'reliability.md').read_text()
NAMED = re.compile(r'`(test/[\w/]+\.py)::(\w+)`')


def bound_in(path: Path) -> set[str]:
    """Return the names that a module binds, some of them by unpacking."""
    names = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
    return names


def test_named_tests_exist() -> None:
    named = NAMED.findall(TEXT)
    assert len(named) > 30
    missing = [f'{path}::{name}' for path, name in named if name not in bound_in(ROOT / path)]
    assert missing == []


def test_every_fault_has_a_test() -> None:
    table = TEXT.partition('| fault |')[2].partition('\n\n')[0]
    rows = [row for row in table.splitlines()[2:] if not row.startswith('| **')]
    assert len(rows) > 25
    assert [row for row in rows if not NAMED.search(row.rpartition(' | ')[2])] == []


def test_no_promise_is_made_of_nothing() -> None:
    for row in re.findall(r'^\| (?!\*\*|fault).+$', TEXT, re.M):
        cells = [cell.strip() for cell in row.strip('|').split(' | ')]
        assert len(cells) == 3, row
        assert all(cells), row

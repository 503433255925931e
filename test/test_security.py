"""Nothing that comes from outside is ever run, and only what must reaches the network."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / 'theia_ros'
MODULES = sorted(PACKAGE.rglob('*.py'))

CALLS = {'eval', 'exec', 'compile', '__import__', 'breakpoint'}
IMPORTS = {
    'pickle',
    'cPickle',
    'dill',
    'cloudpickle',
    'joblib',
    'marshal',
    'shelve',
    'code',
    'pty',
}
OF_OS = {'system', 'popen'} | {
    f'{kind}{ending}'
    for kind in ('exec', 'spawn')
    for ending in ('l', 'le', 'lp', 'lpe', 'v', 've', 'vp', 'vpe')
}
NETWORK = {'urllib', 'http', 'socket', 'ssl', 'requests', 'httpx', 'aiohttp', 'ftplib'}
MAY_USE_NETWORK = (
    'hub/',
    'demo/model.py',
    'soak/__main__.py',
    'commands/view.py',
    'view/server.py',
)
"""`theia-ros fetch`, the demo model, the soak, which locks a port of this computer, and the view,
which serves a page to it."""


def faults(source: str) -> list[str]:
    """Return what a module has that could run what comes from outside."""
    return [f'line {node.lineno}: {what}' for node, what in _faults(ast.parse(source))]


def _faults(tree: ast.AST) -> Iterator[tuple[ast.expr | ast.stmt, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for root in roots(node):
                if root in IMPORTS:
                    yield node, f'import {root}'
            continue
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        options = {k.arg: ast.unparse(k.value) for k in node.keywords}
        owner, _, method = name.rpartition('.')
        if name in CALLS or (owner == 'os' and method in OF_OS) or name.startswith('pickle.'):
            yield node, name
        elif options.get('shell', 'False') != 'False':
            yield node, f'{name}(shell={options["shell"]})'
        elif name in ('subprocess.getoutput', 'subprocess.getstatusoutput'):
            yield node, name
        elif name == 'torch.load' and options.get('weights_only') != 'True':
            yield node, 'torch.load without weights_only=True'
        elif name in ('np.load', 'numpy.load') and options.get('allow_pickle', 'False') != 'False':
            yield node, f'{name}(allow_pickle={options["allow_pickle"]})'
        elif name in ('yaml.load', 'yaml.unsafe_load', 'yaml.full_load'):
            yield node, name


def roots(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name.partition('.')[0] for alias in node.names]
    return [node.module.partition('.')[0]] if node.module and not node.level else []


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


@pytest.mark.parametrize('path', MODULES, ids=name_of)
def test_nothing_from_outside_is_run(path: Path) -> None:
    assert faults(path.read_text()) == []


@pytest.mark.parametrize('path', MODULES, ids=name_of)
def test_only_fetching_uses_the_network(path: Path) -> None:
    used = {
        root
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for root in roots(node)
    } & NETWORK
    assert not used or name_of(path).startswith(MAY_USE_NETWORK), f'{name_of(path)} uses {used}'


@pytest.mark.parametrize(
    ('source', 'fault'),
    [
        ('eval(text)', 'eval'),
        ('exec(text)', 'exec'),
        ('import pickle', 'import pickle'),
        ('from pickle import loads', 'import pickle'),
        ('os.system(text)', 'os.system'),
        ('os.execvp(text, [])', 'os.execvp'),
        ('subprocess.run(text, shell=True)', 'subprocess.run(shell=True)'),
        ('subprocess.run(text, shell=yes)', 'subprocess.run(shell=yes)'),
        ('torch.load(path)', 'torch.load without weights_only=True'),
        ('np.load(path, allow_pickle=True)', 'np.load(allow_pickle=True)'),
        ('yaml.load(text)', 'yaml.load'),
    ],
)
def test_each_fault_would_be_found(source: str, fault: str) -> None:
    assert faults(source) == [f'line 1: {fault}']


@pytest.mark.parametrize(
    'source',
    [
        'model.eval()',
        're.compile(text)',
        'subprocess.run([text])',
        'np.load(p, allow_pickle=False)',
    ],
)
def test_harmless_code_is_not_suspected(source: str) -> None:
    assert faults(source) == []

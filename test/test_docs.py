"""What is written about the code is true."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

import theia_ros
from theia_ros.cli import main

ROOT = Path(__file__).parents[1]
FOLDERS = ('', 'docs/', 'models/', 'models/*/')
DOCUMENTS = sorted(path for folder in FOLDERS for path in ROOT.glob(f'{folder}*.md'))


def test_generated_parts_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / 'scripts' / 'docs', '--check'], capture_output=True, text=True
    )
    assert done.returncode == 0, f'{done.stdout}{done.stderr}; run scripts/docs'


def test_there_is_one_version() -> None:
    version = ElementTree.parse(ROOT / 'package.xml').findtext('version')
    assert theia_ros.__version__ == version
    assert ElementTree.parse(ROOT / 'msg' / 'package.xml').findtext('version') == version
    changelog = (ROOT / 'CHANGELOG.rst').read_text()
    assert re.search(r'^(\d+\.\d+\.\d+) ', changelog, re.MULTILINE)[1] == version


@pytest.mark.parametrize('path', DOCUMENTS, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r'\]\(([^)#]+?)(?:#[^)]*)?\)', path.read_text()):
        if not target.startswith('http'):
            assert (path.parent / target).exists(), f'{path.name} links to {target}'


@pytest.mark.parametrize('path', DOCUMENTS, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_named_files_exist(path: Path) -> None:
    pattern = r'`((?:theia_ros|test|scripts|docs|config|launch|models|examples|msg)/[\w./-]+)`'
    for name in re.findall(pattern, path.read_text()):
        assert (ROOT / name).exists(), f'{path.name} names {name}'


@pytest.mark.parametrize('path', DOCUMENTS, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_commands_exist(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for verb in set(re.findall(r'theia-ros ([a-z][a-z-]*)', path.read_text())):
        with pytest.raises(SystemExit) as caught:
            main([verb, '--help'])
        assert caught.value.code == 0, f'{path.name} names theia-ros {verb}'
        capsys.readouterr()

"""A head of scripts/clone_policy, served by the code in docs/policy-learning.md, on a graph."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.ros_peer import FAKE
from helpers.ros_peer import filming

from clone import heads
from theia_ros.datatypes import Frame
from theia_ros.encoder import Encoder
from theia_ros.params import EncoderParams

pytestmark = pytest.mark.needs_ros

ROOT = Path(__file__).parents[2]
TOPIC = '/wrist/image_raw'
STARTED = {**FAKE, 'autostart': True, 'cameras': ['wrist'], 'image_topics': [TOPIC]}
STATE = (0.44, 0.0, 0.37, 0.08)
"""Of the arm, in the document."""
LEVEL = 51


@pytest.fixture
def head(tmp_path):
    """An untrained head for the fake encoder, its file, and what it was made for."""
    torch.manual_seed(0)
    head = heads.Head(192).eval()
    head.of_move.std.fill_(0.05)
    with Encoder(EncoderParams(**FAKE)) as encoder:
        origin = heads.origin_of(encoder.provenance)
    path = tmp_path / 'head.safetensors'
    heads.save(path, 'features', head, origin)
    return head, path, origin


def serve(path: Path) -> subprocess.CompletedProcess[str]:
    """Run the code of the document."""
    text = (ROOT / 'docs' / 'policy-learning.md').read_text()
    code = re.search(r'```python\n(.*?)```', text, re.DOTALL)[1]
    return subprocess.run(
        [sys.executable, '-c', code, path], cwd=ROOT, capture_output=True, text=True, timeout=120
    )


def test_the_code_of_the_document_acts_on_live_features(peer, start, head) -> None:
    policy, path, _ = head
    with filming(peer, start(STARTED), TOPIC, LEVEL):
        done = serve(path)
    with Encoder(EncoderParams(**FAKE)) as encoder:
        picture = Frame(np.full((48, 64, 3), LEVEL, np.uint8))
        tokens = np.float16(encoder.encode([picture], ['theia'])[0].features['theia'].tokens)
    x, y, z, grip = policy.actions(torch.from_numpy(tokens)[None], torch.tensor([STATE]))[0]
    assert done.stdout == f'move by {x:.4f}, {y:.4f}, {z:.4f} m, grip {grip:.0f}\n', done.stderr


def test_a_head_of_other_features_does_not_act(peer, start, head) -> None:
    policy, path, origin = head
    other = dataclasses.replace(origin, digest='0' * 64, precision='bf16')
    heads.save(path, 'features', policy, other)
    with filming(peer, start(STARTED), TOPIC, LEVEL):
        done = serve(path)
    assert done.returncode == 1
    assert 'precision is fp32, trained with bf16' in done.stderr.splitlines()[-1]
    assert done.stdout == ''

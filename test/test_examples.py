"""Every example runs, as a user would run it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import policies
from helpers import synthetic
from PIL import Image

EXAMPLES = Path(__file__).parents[1] / 'examples'


def test_every_example_has_a_test() -> None:
    """Here, among the nodes of test/ros, or where a policy is trained."""
    here = Path(__file__)
    tests = [here, here.parent / 'ros' / 'test_examples.py', Path(policies.__file__)]
    source = ''.join(path.read_text() for path in tests)
    for path in EXAMPLES.iterdir():
        if path.is_file():
            assert f"'{path.name}'" in source, path.name


def test_encode(tmp_path: Path) -> None:
    # As the model of the demo, whose engine tests of this run share.
    model = synthetic.write_model(tmp_path / 'tiny', teachers=())
    Image.fromarray(synthetic.golden_rule.image('scene_96x128')).save(tmp_path / 'a.png')
    done = subprocess.run(
        [sys.executable, EXAMPLES / 'encode.py', tmp_path / 'a.png', model],
        capture_output=True,
        text=True,
    )
    assert done.stdout == '(196, 192) (14, 14)\n(192, 14, 14)\n', done.stderr


@pytest.fixture
def running(tmp_path: Path) -> Iterator[None]:
    """A camera and an encoder, each in a process of its own."""
    model = synthetic.write_model(tmp_path / 'model', teachers=())
    encoder = ['theia_ros.nodes.encoder_node', '--ros-args', '-p', f'model:={model}']
    commands = [
        [*encoder, '-p', 'autostart:=true', '-p', 'backend:=fake'],
        ['theia_ros.demo.camera_node', '--ros-args', '-p', 'rate_hz:=10.0'],
    ]
    processes = [subprocess.Popen([sys.executable, '-m', *command]) for command in commands]
    yield
    for process in processes:
        process.terminate()
    for process in processes:
        assert process.wait(20) == 0


@pytest.mark.needs_ros
def test_subscribe(running: None, tmp_path: Path) -> None:
    log = tmp_path / 'log.txt'
    with log.open('w') as file:
        process = subprocess.Popen(
            [sys.executable, EXAMPLES / 'subscribe.py'],
            stdout=file,
            stderr=file,
            env=os.environ | {'PYTHONUNBUFFERED': '1'},
        )
    try:
        end = time.monotonic() + 60
        while log.read_text().count('theia (196, 192), norm ') < 3:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.1)
    finally:
        process.kill()
        process.wait()
    assert ' ms after capture' in log.read_text()


# --- train_policy.py -----------------------------------------------------------------------------


@pytest.fixture(scope='module')
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy that was trained from a bag."""
    return policies.make_policy(tmp_path_factory.mktemp('policy'))


def test_train_policy_keeps_what_it_was_trained_with(policy: Path) -> None:
    head, setup = policies.load_policy(policy)
    assert (setup.cameras, setup.tensor, setup.joints) == (('camera',), 'theia', ('elbow',))
    assert setup.window.steps == 2
    assert (setup.origin.backend, setup.origin.model) == ('fake', policies.MODEL)
    assert head.layers[0].in_features == 8 * 16 + 2


def test_train_policy_from_sqlite_is_the_same(policy: Path, tmp_path: Path) -> None:
    bag = policies.encoded(tmp_path, storage='sqlite3')
    done = policies.train(bag, tmp_path / 'policy.safetensors', *policies.SEEING)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / 'policy.safetensors').read_bytes() == policy.read_bytes()


def test_train_policy_shows_features_when_they_would_have_come(tmp_path: Path) -> None:
    """With 40 ms for encoding, the features of a command's own picture have not come yet."""
    bag = policies.encoded(tmp_path, policies.LEVELS[:20])
    policy = tmp_path / 'policy.safetensors'
    done = policies.train(bag, policy, '--epochs', '1', '--delay-ms', '40')
    assert done.stdout.startswith('19 examples, '), done.stderr
    assert '1 commands had no features: StaleError: no features of camera' in done.stderr


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--encoder', '/eyes'], 'has no /eyes/camera/features'),
        (['--tensor', 'clip'], 'has no /theia/camera/clip/features'),
        (['--steps', '0'], 'steps is 0; expected 1 or more'),
        (['--joints', 'knee'], '0 commands of .* have features; expected 10'),
    ],
)
def test_train_policy_mistakes(tmp_path: Path, arguments: list[str], message: str) -> None:
    bag = policies.encoded(tmp_path, policies.LEVELS[:12])
    done = policies.train(bag, tmp_path / 'policy.safetensors', *arguments)
    assert done.returncode == 2
    assert re.search(message, done.stderr.splitlines()[-1]), done.stderr
    assert not (tmp_path / 'policy.safetensors').exists()


# --- consumer.cpp --------------------------------------------------------------------------------

RCLCPP = """
#pragma once
#include <functional>
#include <memory>
#include <string>
#define RCLCPP_ERROR(logger, ...) logger.log(__VA_ARGS__)
#define RCLCPP_INFO(logger, ...) logger.log(__VA_ARGS__)
namespace rclcpp {
struct Logger { __attribute__((format(printf, 2, 3))) void log(const char *, ...) const {} };
template <class M> struct Subscription { using SharedPtr = std::shared_ptr<Subscription>; };
struct Node {
  explicit Node(const std::string &) {}
  Logger get_logger() const { return {}; }
  template <class T> T declare_parameter(const std::string &, T value) { return value; }
  template <class M> std::shared_ptr<Subscription<M>> create_subscription(
    const std::string &, int, std::function<void(typename M::ConstSharedPtr)>) { return {}; }
};
inline void init(int, char **) {}
inline void spin(std::shared_ptr<Node>) {}
inline void shutdown() {}
}
"""
"""What the example uses of rclcpp, which no wheel brings, so that the rest is compiled."""


@pytest.mark.needs_ros
def test_the_consumer_in_cpp_compiles(tmp_path: Path) -> None:
    (tmp_path / 'rclcpp').mkdir()
    (tmp_path / 'rclcpp' / 'rclcpp.hpp').write_text(RCLCPP)
    folders = [tmp_path]
    for prefix in os.environ.get('AMENT_PREFIX_PATH', sys.prefix).split(os.pathsep):
        folders += sorted(Path(prefix, 'include').glob('*'))
    includes = [f'-I{folder}' for folder in folders if folder.is_dir()]
    flags = ['-std=c++17', '-fsyntax-only', '-Wall', '-Wextra', '-Werror']
    done = subprocess.run(
        ['c++', *flags, *includes, EXAMPLES / 'consumer.cpp'], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr

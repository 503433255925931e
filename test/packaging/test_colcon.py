"""A plain `colcon build` in a workspace that holds only this repository."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
VENV = ROOT / '.venv'

pytestmark = [pytest.mark.needs_ros, pytest.mark.packaging]


def environment():
    """Return this environment without the project itself, whose installed copy is to be tested."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(('COLCON_', 'VIRTUAL_ENV'))}
    for name in ('AMENT_PREFIX_PATH', 'CMAKE_PREFIX_PATH', 'LD_LIBRARY_PATH', 'PYTHONPATH'):
        entries = [e for e in env.pop(name, '').split(':') if e and not e.startswith(str(ROOT))]
        if entries:
            env[name] = ':'.join(entries)
    if 'ROS_DISTRO' not in env:
        # ROS itself lies in .venv/, and sets up its library path where that was not done.
        env['AMENT_PREFIX_PATH'] = str(VENV)
        env.pop('_ROS_WHEELS_BOOTSTRAP_COMPLETE', None)
    if not shutil.which('make'):
        env['CMAKE_GENERATOR'] = 'Ninja'
    return env


def tracked_files():
    """Return what git tracks and the working tree holds, so that stray files do not help."""
    listed = subprocess.run(
        ['git', 'ls-files', '-z'], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [name for name in listed.stdout.split('\0') if name and (ROOT / name).is_file()]


@pytest.fixture(
    scope='module',
    params=[
        pytest.param([], id='install'),
        pytest.param(['--symlink-install'], id='symlink-install', marks=pytest.mark.slow),
    ],
)
def build(request, tmp_path_factory):
    """Build once for all tests; return the workspace and the finished process."""
    if not shutil.which('colcon'):
        pytest.skip('colcon is missing; scripts/test installs it')
    folder = tmp_path_factory.mktemp('ws')
    for name in tracked_files():
        target = folder / 'src' / 'theia_ros' / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target)
    return folder, subprocess.run(
        ['colcon', 'build', *request.param],
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture
def workspace(build):
    folder, done = build
    if done.returncode:
        pytest.fail('colcon build failed; test_it_builds shows its output', pytrace=False)
    return folder


@pytest.fixture
def shell(workspace):
    """Return a function that runs one command in a shell with the workspace sourced."""

    def run(command):
        done = subprocess.run(
            ['bash', '--norc', '-c', f'source install/setup.bash && {command}'],
            cwd=workspace,
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f'{command}\n{done.stdout}{done.stderr}'
        return done.stdout.strip()

    return run


def test_it_builds(build):
    _, done = build
    if done.returncode:
        pytest.fail(f'colcon build failed:\n{done.stdout[-8000:]}', pytrace=False)


@pytest.mark.parametrize('package', ['theia_ros', 'theia_msgs'])
def test_python_package_comes_from_the_workspace(shell, workspace, package):
    found = shell(f'python3 -c "import {package}; print({package}.__file__)"')

    assert Path(found).is_relative_to(workspace)


def test_messages_can_be_used(shell):
    # Making a publisher loads the C libraries of the message.
    code = (
        'import rclpy; from theia_msgs.msg import FeatureTensorArray as M; rclpy.init(); '
        'rclpy.create_node(\\"n\\").create_publisher(M, \\"t\\", 1); print(M().tensors)'
    )

    assert shell(f'python3 -c "{code}"') == '[]'


def test_the_resize_is_compiled(shell):
    code = 'from theia_ros.resize import fastest, LIBRARY; print(LIBRARY, fastest()[1] or 0)'
    library, why = shell(f'python3 -c "{code}"').split(' ', 1)

    assert (Path(library).name, why) == ('_resize.so', '0')


def test_command_is_on_path(shell, workspace):
    assert Path(shell('command -v theia-ros')).is_relative_to(workspace)
    assert 'theia-ros' in shell('theia-ros --help')


def test_executables_lie_where_ros2_run_looks(shell, workspace):
    folder = workspace / 'install' / 'theia_ros' / 'lib' / 'theia_ros'

    assert {'encoder_node', 'depth_cloud', 'demo_camera'} <= {
        path.name for path in folder.iterdir()
    }
    assert all(os.access(path, os.X_OK) for path in folder.iterdir())
    # Importing what they start: running them would need a camera.
    code = 'for e in d(\\"theia_ros\\").entry_points: print(e.name, e.load().__name__)'
    output = shell(f'python3 -c "from importlib.metadata import distribution as d\n{code}"')
    assert 'encoder_node encoder_node' in output
    shell('python3 -c "import theia_ros.nodes.encoder_node, theia_ros.demo.camera_node"')


@pytest.mark.parametrize(
    'path',
    [
        'share/theia_ros/package.xml',
        'share/theia_ros/launch',
        'share/theia_ros/config/fastdds.xml',
        'share/theia_ros/config/theia.rviz',
        'share/theia_ros/models/demo-tiny/model.safetensors',
        'share/theia_ros/models/demo-tiny/statistics/imagenet_mean_simulator_depth.npy',
        'share/theia_msgs/package.xml',
        'share/theia_msgs/msg/FeatureTensor.msg',
        'share/ament_index/resource_index/packages/theia_ros',
        'share/ament_index/resource_index/packages/theia_msgs',
    ],
)
def test_shared_file_is_installed(workspace, path):
    assert (workspace / 'install' / 'theia_ros' / path).exists()


def test_package_is_installed_whole(workspace):
    prefix = workspace / 'install' / 'theia_ros'
    (package,) = prefix.glob('lib/python3*/*-packages/theia_ros')
    names = [name for name in tracked_files() if name.startswith('theia_ros/')]

    assert [name for name in names if not (package.parent / name).exists()] == []

"""What is asked in a process of its own: `python -m theia_ros.doctor.probes NAME ARGUMENTS`.

Each probe takes a JSON object and returns one, and imports what it looks at itself. Here, and
nowhere else of this room, are torch and ROS.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from theia_ros.doctor.apart import MARK
from theia_ros.errors import ParityError
from theia_ros.errors import TheiaRosError

Answer = dict[str, Any]

IMAGE_HW = (1080, 1920)
"""Of the images that are sent for a trial: 6.2 MB each."""
_IMAGES = 10
_IMAGE_PAUSE_S = 0.1
_MEET_S = 6.0
_MOST_S = 20.0


def module(task: Mapping[str, Any]) -> Answer:
    """Import a module and tell its version and its file."""
    found = importlib.import_module(task['name'])
    version = str(getattr(found, '__version__', ''))
    return {'version': version, 'file': getattr(found, '__file__', None) or ''}


def cv_bridge(task: Mapping[str, Any]) -> Answer:
    """Let cv_bridge make a colour of a Bayer image, for which it needs its compiled half."""
    bridge = importlib.import_module('cv_bridge').CvBridge()  # first: it is what may be missing
    import numpy as np
    from sensor_msgs.msg import Image

    image = Image(height=4, width=4, step=4, encoding='bayer_rggb8', data=bytes(range(16)))
    rgb = bridge.imgmsg_to_cv2(image, 'rgb8')
    if rgb.shape != (4, 4, 3):
        raise ValueError(f'it made {rgb.shape} of an image of 4x4')
    return {'numpy': np.__version__}


def resize(task: Mapping[str, Any]) -> Answer:
    """Tell why Pillow resizes pictures; empty if it does not."""
    from theia_ros.resize import fastest

    return {'why': fastest()[1]}


def messages(task: Mapping[str, Any]) -> Answer:
    """Tell the fields of every message of theia_msgs."""
    import theia_msgs.msg

    fields = {
        name: kind.get_fields_and_field_types()
        for name, kind in vars(theia_msgs.msg).items()
        if hasattr(kind, 'get_fields_and_field_types')
    }
    # The compiled half is loaded by the first publisher, and may be missing or for another python.
    for name in fields:
        kind = getattr(theia_msgs.msg, name)
        if hasattr(kind, '__import_type_support__'):
            kind.__import_type_support__()
    return {'fields': fields, 'file': theia_msgs.__file__ or ''}


@contextmanager
def _node(make: Callable[[], Any], args: Sequence[str] = ()) -> Iterator[Any]:
    """Start ROS and make a node; give both back, or shared memory would stay behind."""
    import rclpy

    rclpy.init(args=list(args))
    try:
        made = make()
        try:
            yield made
        finally:
            made.destroy_node()
    finally:
        rclpy.try_shutdown()


def ros(task: Mapping[str, Any]) -> Answer:
    """Start ROS as every node does."""
    import rclpy
    from rclpy.utilities import get_rmw_implementation_identifier

    with _node(lambda: rclpy.create_node(f'theia_ros_doctor_{os.getpid()}')):
        return {'file': rclpy.__file__, 'rmw': get_rmw_implementation_identifier()}


def node(task: Mapping[str, Any]) -> Answer:
    """Make an encoder node with a parameter file, and tell the parameters that it has then."""
    from theia_ros.nodes import ros_params
    from theia_ros.nodes.encoder_node import EncoderNode

    file = task['params_file']
    args = ['--ros-args', '--params-file', file] if file else []
    with _node(EncoderNode, args) as made:
        given = sorted(getattr(made, '_parameter_overrides', {}))
        return {'params': asdict(ros_params.read(made)), 'given': given}


def images(task: Mapping[str, Any]) -> Answer:
    """Let another process send large best-effort images, and count those that come."""
    import rclpy
    from sensor_msgs.msg import Image

    topic = f'theia_ros_doctor_{os.getpid()}'
    received: list[Image] = []
    sender = [sys.executable, '-m', 'theia_ros.doctor.probes', 'send', json.dumps([topic])]
    with _node(lambda: rclpy.create_node(topic)) as receiver:
        receiver.create_subscription(Image, topic, received.append, _best_effort())
        with subprocess.Popen(sender, stdout=subprocess.PIPE, text=True) as process:
            deadline = time.monotonic() + _MOST_S
            while len(received) < _IMAGES and time.monotonic() < deadline:
                ended = process.poll() is not None
                rclpy.spin_once(receiver, timeout_sec=0.1)
                if ended:
                    break
            said, _ = process.communicate(timeout=_MOST_S)
    # Not by splitlines, which takes the mark itself for the end of a line.
    (answer,) = (line for line in said.split('\n') if line.startswith(MARK))
    return {'received': len(received), 'sent': _IMAGES, **json.loads(answer[1:])}


def send(task: Sequence[str]) -> Answer:
    """Send the images that `images` waits for, and tell whether anybody subscribed."""
    import array

    import rclpy
    from sensor_msgs.msg import Image

    rows, columns = IMAGE_HW
    with _node(lambda: rclpy.create_node(f'{task[0]}_sender')) as sender:
        publisher = sender.create_publisher(Image, task[0], _best_effort())
        pixels = array.array('B', bytes(3 * rows * columns))
        image = Image(height=rows, width=columns, step=3 * columns, encoding='rgb8', data=pixels)
        deadline = time.monotonic() + _MEET_S
        while not publisher.get_subscription_count():
            if time.monotonic() > deadline:
                return {'met': False}
            time.sleep(0.05)
        time.sleep(0.5)  # until the other side knows of this one, too
        for _ in range(_IMAGES):
            publisher.publish(image)
            time.sleep(_IMAGE_PAUSE_S)
        time.sleep(0.5)
    return {'met': True}


def _best_effort() -> Any:
    from rclpy.qos import QoSProfile
    from rclpy.qos import ReliabilityPolicy

    return QoSProfile(depth=_IMAGES, reliability=ReliabilityPolicy.BEST_EFFORT)


def torch(task: Mapping[str, Any]) -> Answer:
    """Tell what torch knows of the GPUs, and let each compute something."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        import torch

        count = torch.cuda.device_count()
        devices = [_try_device(torch, i) for i in range(count)]
        if torch.version.cuda and not count:
            torch.cuda.is_available()  # says why there is none, if it knows
    from theia_ros.engine import machine
    from theia_ros.engine import tensorrt_settings

    installed = machine.versions(*tensorrt_settings.DISTRIBUTIONS)
    return {
        'version': torch.__version__,
        'cuda': torch.version.cuda or '',
        'devices': devices,
        'compiled_for': list(torch.cuda.get_arch_list()),
        'warnings': [str(w.message).partition('\n')[0] for w in caught],
        'driver': machine.gpu_driver(),
        'cpu': machine.cpu_name(),
        'tensorrt': installed,
        'misfit': tensorrt_settings.misfit(installed, torch.__version__, torch.version.cuda or ''),
        'oldest_driver': tensorrt_settings.OLDEST_DRIVER.get((torch.version.cuda or '')[:2], 0),
    }


def _try_device(torch: Any, i: int) -> Answer:
    told: Answer = {'name': torch.cuda.get_device_name(i), 'failure': ''}
    try:
        told['capability'] = list(torch.cuda.get_device_capability(i))
        told['free_gb'], told['total_gb'] = (n / 1e9 for n in torch.cuda.mem_get_info(i))
        x = torch.ones(64, 64, device=f'cuda:{i}')
        if float((x @ x).sum()) != 64.0**3:
            told['failure'] = 'it computes wrong numbers'
    except Exception as exc:
        told['failure'] = _line(exc)
    return told


def tensorrt(task: Mapping[str, Any]) -> Answer:
    """Import Torch-TensorRT and the TensorRT that it uses."""
    import torch_tensorrt

    tensorrt = importlib.import_module('tensorrt')  # Torch-TensorRT puts its flavour there
    return {'torch_tensorrt': torch_tensorrt.__version__, 'tensorrt': tensorrt.__version__}


def openvino(task: Mapping[str, Any]) -> Answer:
    """Tell in which precisions OpenVINO computes here."""
    import openvino

    able = openvino.Core().get_property('CPU', 'OPTIMIZATION_CAPABILITIES')
    known = {'FP32': 'fp32', 'BF16': 'bf16', 'FP16': 'fp16'}
    return {
        'version': openvino.__version__,
        'precisions': [ours for theirs, ours in known.items() if theirs in able],
    }


def choice(task: Mapping[str, Any]) -> Answer:
    """Tell which backend and device the parameters mean here."""
    from theia_ros.engine import choose
    from theia_ros.engine.torch_engine import device_name
    from theia_ros.engine.torch_engine import find_device
    from theia_ros.params import EncoderParams
    from theia_ros.params import make

    params = make(EncoderParams, task['params'])
    chosen = choose(params)
    device = device_name(find_device(params.device))
    return {'backend': chosen.backend, 'why': chosen.why, 'device': device}


def model(task: Mapping[str, Any]) -> Answer:
    """Load a model strictly, and what decoding its heads needs as far as that is here."""
    from theia_ros import checkpoint
    from theia_ros.catalog import find_model
    from theia_ros.decoders import open_decoders
    from theia_ros.params import EncoderParams
    from theia_ros.params import make

    params = make(EncoderParams, task['params'])
    loaded = checkpoint.load(find_model(params.model))
    state = loaded.state_dict()
    return {
        'tensors': len(state),
        'numbers': sum(tensor.numel() for tensor in state.values()),
        'teachers': list(loaded.config.teachers),
        'maps': sorted(m for d in open_decoders(loaded.config, params) for m in d.maps),
    }


def engine(task: Mapping[str, Any]) -> Answer:
    """Open what the node would open, and tell how far it is from the reference."""
    from theia_ros.encoder import Encoder
    from theia_ros.params import EncoderParams
    from theia_ros.params import make
    from theia_ros.parity import FELL_BACK

    def report(stage: str) -> None:
        _say({'stage': stage})

    params, started = make(EncoderParams, task['params']), time.monotonic()
    try:
        encoder = Encoder(params, report)
    except ParityError as exc:
        return {'refused': str(exc), 'parity': _figures(exc.parity)}
    with encoder:
        made = encoder.provenance
        return {
            'refused': '',
            'parity': _figures(encoder.parity),
            'backend': made.recipe.backend,
            'precision': made.recipe.precision,
            'device': made.device,
            'fell_back': next((n for n in made.notes if n.startswith(FELL_BACK)), ''),
            'open_s': time.monotonic() - started,
        }


def _figures(parity: Mapping[str, Any]) -> Answer:
    return {
        tensor: {
            'cosine': p.cosine,
            'cosine_limit': p.limit.cosine,
            'max_abs_error': p.max_abs_error,
            'error_limit': p.limit.error,
            'good': p.good,
        }
        for tensor, p in parity.items()
    }


PROBES: Mapping[str, Callable[[Any], Answer]] = {
    f.__name__: f
    for f in (
        module,
        resize,
        cv_bridge,
        messages,
        ros,
        node,
        images,
        send,
        torch,
        tensorrt,
        openvino,
        choice,
        model,
        engine,
    )
}


def _line(error: BaseException) -> str:
    """Return an error in one line: ours as it is, others with their type."""
    text = ' '.join(str(error).split())
    if isinstance(error, TheiaRosError):
        return text
    return f'{type(error).__name__}: {text}' if text else type(error).__name__


def _say(what: Answer) -> None:
    sys.stdout.write(f'{MARK}{json.dumps(what)}\n')
    sys.stdout.flush()


def main() -> None:
    """Answer one question."""
    try:
        answer = PROBES[sys.argv[1]](json.loads(sys.argv[2]))
    except Exception as exc:
        answer = {'failure': _line(exc), 'kind': type(exc).__name__}
    _say(answer)


if __name__ == '__main__':
    main()

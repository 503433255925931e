"""What `auto` means on this machine, and why."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

from theia_ros.engine.torch_engine import find_device
from theia_ros.errors import first_line
from theia_ros.params import EncoderParams


@dataclass(frozen=True)
class Choice:
    """A backend, and why it was taken.

    Attributes:
        backend: Key of `engine.BACKENDS`, unless the user asked for something unknown.
        why: For people; empty when the user asked for it.
    """

    backend: str
    why: str = ''


def choose(params: EncoderParams) -> Choice:
    """Return the backend that the parameters ask for.

    Raises:
        EngineError: There is no such device.
    """
    if params.backend != 'auto':
        return Choice(params.backend)
    if params.preprocessing == 'native':
        return Choice('torch', 'preprocessing native needs an engine for any size')
    device = find_device(params.device)
    if device.type == 'cuda':
        if reason := no_tensorrt():
            return Choice('torch', reason)
        return Choice('tensorrt', f'{device} is there and torch_tensorrt can be imported')
    if reason := no_openvino():
        return Choice('torch', f'the device is the CPU and {reason}')
    from theia_ros.engine import openvino_engine

    lacking = '' if params.precision == 'auto' else openvino_engine.lacking(params.precision)
    if lacking:
        return Choice('torch', lacking)
    return Choice('openvino', 'the device is the CPU and openvino is installed')


def no_tensorrt() -> str:
    """Say why TensorRT cannot be used; empty if it can."""
    return _no('torch_tensorrt')


def no_openvino() -> str:
    """Say why OpenVINO cannot be used; empty if it can."""
    return _no('openvino')


def _no(package: str) -> str:
    if not find_spec(package):
        return f'{package} is not installed'
    try:
        import_module(package)
    except Exception as exc:  # they raise plain Exception, OSError, AssertionError and others
        return f'{package} is installed but cannot be imported: {first_line(exc)}'
    return ''

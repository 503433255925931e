"""What `auto` means on this machine, and why."""

from __future__ import annotations

from dataclasses import dataclass
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
    if not find_spec('openvino'):
        return Choice('torch', 'the device is the CPU and openvino is not installed')
    from theia_ros.engine import openvino_engine

    lacking = '' if params.precision == 'auto' else openvino_engine.lacking(params.precision)
    if lacking:
        return Choice('torch', lacking)
    return Choice('openvino', 'the device is the CPU and openvino is installed')


def no_tensorrt() -> str:
    """Say why TensorRT cannot be used; empty if it can."""
    if not find_spec('torch_tensorrt'):
        return 'torch_tensorrt is not installed'
    try:
        import torch_tensorrt  # noqa: F401
    except Exception as exc:  # it raises plain Exception, OSError, AssertionError and others
        return f'torch_tensorrt is installed but cannot be imported: {first_line(exc)}'
    return ''

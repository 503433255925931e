"""The model as it is, in torch: the reference that other engines are compared with."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from theia_ros.engine.base import Pixels
from theia_ros.engine.parts_engine import check_batch
from theia_ros.engine.precision import in_precision
from theia_ros.errors import EngineError
from theia_ros.errors import first_line
from theia_ros.model import TheiaModel


class TorchEngine:
    """Eager torch on the CPU or a CUDA device."""

    backend = 'torch'
    fingerprint = ''
    pixels_on = torch.device('cpu')

    def __init__(
        self, model: TheiaModel, device: torch.device, precision: str, max_batch: int
    ) -> None:
        """Bring the model to its device and precision.

        Args:
            model: In float32, on the CPU; it is left as it is.
            device: See `find_device`.
            precision: `auto` is fp32.
            max_batch: Most pictures of one call.
        """
        self.config, self.max_batch = model.config, max_batch
        self.precision = 'fp32' if precision == 'auto' else precision
        self._device = device
        self._model: TheiaModel | None = in_precision(model, self.precision).to(device)
        self.device = device_name(device)

    def infer(self, pixels: Pixels, tensors: Collection[str]) -> dict[str, Tensor]:
        """Return the tensors that are asked for; see `Engine.infer`."""
        if self._model is None:
            raise EngineError('the engine is closed; open it again')
        check_batch(len(pixels), self.max_batch)
        try:
            with torch.inference_mode():
                on_device = torch.as_tensor(pixels).to(self._device)
                found = self._model(on_device, tensors)
                if self._device.type == 'cuda':
                    torch.cuda.synchronize(self._device)
        except RuntimeError as exc:  # torch's word for everything, out of memory included
            raise EngineError(f'torch failed on {self.device}: {first_line(exc)}') from exc
        return dict(found)

    def close(self) -> None:
        """Drop the model."""
        self._model = None


def find_device(wanted: str) -> torch.device:
    """Return the device that `wanted` names; `auto` is CUDA where there is one.

    Raises:
        EngineError: There is no such device.
    """
    cuda_devices = torch.cuda.device_count()
    if wanted == 'auto':
        return torch.device('cuda:0' if cuda_devices else 'cpu')
    try:
        device = torch.device(wanted)
    except RuntimeError:
        device = torch.device('meta')
    if device.type == 'cpu' or (device.type == 'cuda' and (device.index or 0) < cuda_devices):
        return device
    known = ', '.join(['auto', 'cpu', *(f'cuda:{i}' for i in range(cuda_devices))])
    raise EngineError(f'device {wanted!r} is not there; use one of {known}')


def device_name(device: torch.device) -> str:
    """Return a device's name for people."""
    if device.type == 'cuda':
        return f'{device} ({torch.cuda.get_device_name(device)})'
    return f'cpu ({torch.get_num_threads()} threads)'

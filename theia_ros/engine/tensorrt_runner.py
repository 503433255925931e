"""Run a TensorRT engine, of either flavour and of any version from 10 on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from theia_ros.errors import EngineError


class TensorrtRunner:
    """Run a part on the current stream, from and to memory that torch owns."""

    def __init__(self, trt: Any, engine: Any, device: torch.device) -> None:
        """Prepare an engine with one input and one output.

        Raises:
            EngineError: There is no memory for it.
        """
        self._engine, self._device = engine, device  # the context needs the engine to live
        self._context = engine.create_execution_context()
        if self._context is None:
            raise EngineError(f'TensorRT has no memory left on {device}')
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        inputs = [n for n in names if engine.get_tensor_mode(n) == trt.TensorIOMode.INPUT]
        (self._input,) = inputs
        (self._output,) = (n for n in names if n not in inputs)

    def __call__(self, x: Tensor) -> Tensor:
        """Return what the part makes of a batch, once the stream is done; see `Runner`."""
        context = self._context
        if not context.set_input_shape(self._input, tuple(x.shape)):
            raise EngineError(f'the TensorRT engine was not built for {tuple(x.shape)}')
        y = torch.empty(tuple(context.get_tensor_shape(self._output)), device=self._device)
        context.set_tensor_address(self._input, x.data_ptr())
        context.set_tensor_address(self._output, y.data_ptr())
        if not context.execute_async_v3(torch.cuda.current_stream(self._device).cuda_stream):
            raise EngineError('TensorRT could not run the engine; its own message is above')
        return y

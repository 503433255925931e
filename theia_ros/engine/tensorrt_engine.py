"""TensorRT, and TensorRT for RTX, through Torch-TensorRT.

Torch-TensorRT turns an exported part into a plain TensorRT engine. TensorRT's own runtime runs
it: what is stored is the engine alone, without a graph of torch or a pickle around it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
import torch_tensorrt
from torch.export import ExportedProgram

from theia_ros.engine import machine
from theia_ros.engine.cuda_executor import CudaExecutor
from theia_ros.engine.parts_engine import Executor
from theia_ros.engine.parts_engine import Runner
from theia_ros.engine.precision import in_precision
from theia_ros.engine.tensorrt_runner import TensorrtRunner
from theia_ros.engine.tensorrt_settings import as_arguments
from theia_ros.engine.tensorrt_settings import settings
from theia_ros.engine.torch_engine import device_name
from theia_ros.errors import EngineError
from theia_ros.model import TheiaModel
from theia_ros.params import EncoderParams


class TensorrtCompiler:
    """Compile parts for one GPU of this machine."""

    backend = 'tensorrt'

    def __init__(self, device: torch.device, precision: str) -> None:
        """Choose the device and the arithmetic.

        Args:
            device: A CUDA device.
            precision: `auto` is fp16.

        Raises:
            EngineError: This Torch-TensorRT is too old, or too old for bf16.
        """
        self.precision = 'fp16' if precision == 'auto' else precision
        self._device, self.device = device, device_name(device)
        # Torch-TensorRT puts its flavour of TensorRT in place of this name.
        import tensorrt

        self._tensorrt: Any = tensorrt
        try:
            self._settings = settings(torch_tensorrt.__version__, self.precision)
        except ValueError as exc:
            raise EngineError(str(exc)) from exc

    @property
    def for_rtx(self) -> bool:
        """Whether this is TensorRT for RTX."""
        return getattr(self._tensorrt, '_package_name', '') == 'tensorrt_rtx'

    def facts(self) -> Mapping[str, str]:
        """Return what built parts depend on; see `Compiler`."""
        flavour = 'tensorrt-rtx' if self.for_rtx else 'tensorrt'
        return {
            'settings': json.dumps(self._settings, sort_keys=True),
            'device': machine.gpu_name(self._device),
            'features': '',
            'driver': machine.gpu_driver(),
            'cuda': str(torch.version.cuda),
            'compiler': f'torch-tensorrt {torch_tensorrt.__version__}',
            'runtime': f'{flavour} {self._tensorrt.__version__}',
        }

    def prepare(self, model: TheiaModel) -> TheiaModel:
        """Return the model with its casts written out; see `Compiler`."""
        return in_precision(model, self.precision, written_out=True)

    def build(self, program: ExportedProgram, max_batch: int) -> bytes:
        """Return a serialized engine; see `Compiler`."""
        example = program.example_inputs[0][0]
        row = tuple(example.shape[1:])
        shape = torch_tensorrt.Input(
            min_shape=(1, *row),
            opt_shape=(1, *row),
            max_shape=(max_batch, *row),
            dtype=example.dtype,
        )
        with torch.cuda.device(self._device):
            try:
                engine = torch_tensorrt.dynamo.convert_exported_program_to_serialized_trt_engine(
                    program, arg_inputs=[shape], **as_arguments(self._settings)
                )
            except UnboundLocalError as exc:  # up to 2.11 it logs its errors and goes on without
                raise EngineError(
                    f'Torch-TensorRT {torch_tensorrt.__version__} cannot convert the model; its '
                    'own message is above'
                ) from exc
        return bytes(engine)

    def load(self, payload: bytes) -> TensorrtRunner:
        """Load a serialized engine; see `Compiler`."""
        trt = self._tensorrt
        with torch.cuda.device(self._device):
            runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
            engine = runtime.deserialize_cuda_engine(payload)
            if engine is None:
                raise EngineError('TensorRT cannot load the engine; its own message is above')
            return TensorrtRunner(trt, engine, self._device)

    def executor(self, runners: Mapping[str, Runner], params: EncoderParams) -> Executor:
        """Run the parts on the device; see `Compiler`."""
        # TensorRT for RTX compiles kernels while it runs, which a recording would not see.
        graphs = params.cuda_graphs and not self.for_rtx
        return CudaExecutor(runners, self._device, params.max_batch, graphs)

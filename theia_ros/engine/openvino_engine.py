"""OpenVINO, the fast engine on a CPU."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Mapping
from collections.abc import Sequence
from functools import cache
from typing import Any

import openvino
import torch
from torch import Tensor
from torch.export import ExportedProgram

from theia_ros.engine import machine
from theia_ros.engine.parts_engine import Executor
from theia_ros.engine.parts_engine import HostExecutor
from theia_ros.engine.parts_engine import Runner
from theia_ros.engine.precision import in_precision
from theia_ros.engine.torch_engine import device_name
from theia_ros.errors import EngineError
from theia_ros.errors import first_line
from theia_ros.model import TheiaModel
from theia_ros.params import EncoderParams

_DEVICE = 'CPU'
_NAMES = {'fp32': 'f32', 'fp16': 'f16', 'bf16': 'bf16'}


@cache
def _core() -> Any:
    return openvino.Core()


def lacking(precision: str) -> str:
    """Say why this CPU cannot compute in a precision; empty if it can."""
    able = _core().get_property(_DEVICE, 'OPTIMIZATION_CAPABILITIES')
    if precision.upper() in able:
        return ''
    has = ', '.join(p for p in _NAMES if p.upper() in able)
    return f'OpenVINO on {machine.cpu_name()} computes in {has}, not in {precision}'


class OpenvinoCompiler:
    """Compile parts for the CPU of this machine."""

    backend = 'openvino'

    def __init__(self, precision: str) -> None:
        """Choose the arithmetic.

        Args:
            precision: `auto` is fp32.

        Raises:
            EngineError: The CPU has no such arithmetic.
        """
        self.precision = 'fp32' if precision == 'auto' else precision
        if reason := lacking(self.precision):
            raise EngineError(f'{reason}; use precision auto')
        self.device = device_name(torch.device('cpu'))
        # OpenVINO lowers the precision by itself and keeps normalisations and softmax above it.
        self._settings = {
            'PERFORMANCE_HINT': 'LATENCY',
            'INFERENCE_PRECISION_HINT': _NAMES[self.precision],
        }

    def facts(self) -> Mapping[str, str]:
        """Return what built parts depend on; see `Compiler`."""
        return {
            'settings': json.dumps(self._settings | {'blobs': 'one, more'}, sort_keys=True),
            'device': machine.cpu_name(),
            'features': machine.cpu_features(),
            'driver': '',
            'cuda': '',
            'compiler': f'openvino {openvino.__version__}',
            'runtime': f'openvino {openvino.__version__}',
        }

    def prepare(self, model: TheiaModel) -> TheiaModel:
        """Return the model with sums that OpenVINO gets right; see `Compiler`."""
        exact = self.precision == 'fp32'
        return in_precision(model, 'fp32', stepwise_norms=True) if exact else model

    def build(self, program: ExportedProgram, max_batch: int) -> bytes:
        """Return compiled blobs, one after the other, each after its size; see `Compiler`.

        One is for a single picture, which is a quarter to a third faster when its shape is known
        while compiling; the other, if there is any, is for more.
        """
        with warnings.catch_warnings():
            # Its converter uses what torch has deprecated.
            warnings.simplefilter('ignore')
            converted = openvino.convert_model(program)
        row = list(program.example_inputs[0][0].shape[1:])
        batches = [1] if max_batch == 1 else [1, openvino.Dimension(1, max_batch)]
        blobs = [self._blob(converted.clone(), [batch, *row]) for batch in batches]
        return b''.join(len(blob).to_bytes(8, 'little') + blob for blob in blobs)

    def _blob(self, converted: Any, shape: Sequence[Any]) -> bytes:
        converted.reshape(openvino.PartialShape(shape))
        compiled = _core().compile_model(converted, _DEVICE, self._settings | _here())
        used = compiled.get_property('INFERENCE_PRECISION_HINT').get_type_name()
        if used != _NAMES[self.precision]:
            raise EngineError(f'OpenVINO computes in {used} though {self.precision} was asked for')
        blob: bytes = compiled.export_model().getvalue()
        return blob

    def load(self, payload: bytes) -> OpenvinoRunner:
        """Load compiled blobs; see `Compiler`."""
        stream, compiled = io.BytesIO(payload), []
        try:
            while size := int.from_bytes(stream.read(8), 'little'):
                blob = io.BytesIO(stream.read(size))
                compiled.append(_core().import_model(blob, _DEVICE, self._settings | _here()))
        except RuntimeError as exc:
            raise EngineError(f'OpenVINO cannot load the engine: {first_line(exc)}') from exc
        return OpenvinoRunner(compiled[0], compiled[-1])

    def executor(self, runners: Mapping[str, Runner], params: EncoderParams) -> Executor:
        """Run the parts on the host; see `Compiler`."""
        return HostExecutor(runners)


class OpenvinoRunner:
    """Run a compiled part on memory that torch owns, without copies."""

    def __init__(self, for_one: Any, for_more: Any) -> None:
        """Prepare compiled models of the same part for one picture and for more."""
        self._for_one, self._for_more = (c.create_infer_request() for c in (for_one, for_more))
        self._row_shape = [d.get_length() for d in list(for_one.output().get_partial_shape())[1:]]

    def __call__(self, x: Tensor) -> Tensor:
        """Return what the part makes of a batch; see `Runner`."""
        request = self._for_one if len(x) == 1 else self._for_more
        y = torch.empty(len(x), *self._row_shape)
        request.set_input_tensor(openvino.Tensor(x.numpy(), shared_memory=True))
        request.set_output_tensor(openvino.Tensor(y.numpy(), shared_memory=True))
        request.infer()
        return y


def _here() -> dict[str, Any]:
    """Return settings of the moment, which built parts do not depend on."""
    # Pinned threads of two processes would all sit on the first cores.
    return {'INFERENCE_NUM_THREADS': torch.get_num_threads(), 'ENABLE_CPU_PINNING': False}

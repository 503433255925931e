"""Let TensorRT for RTX build engines where there is no GPU, in a process of its own.

`python no_gpu.py FOLDER TENSOR PRECISION MAX_BATCH` builds the engine of one part of the model in
FOLDER and prints a line of JSON: what was built, and each operation that was converted.

TensorRT for RTX compiles without a GPU; only what is around it asks for one. The questions are
answered here, Torch-TensorRT's own runtime, which needs torch with CUDA, is left out, and the
finished engine is taken as it is and not loaded for a look at it.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

GPU = 'NVIDIA GeForce RTX 4090'


class Properties:
    """Of the GPU that is not there."""

    name, major, minor = GPU, 8, 9
    total_memory, multi_processor_count = 24 << 30, 128


def pretend() -> None:
    """Answer for a GPU, and import Torch-TensorRT."""
    answers: dict[str, Any] = {
        'device_count': 1,
        'get_device_capability': (8, 9),
        'get_device_properties': Properties,
        'mem_get_info': (20 << 30, 24 << 30),
        'current_device': 0,
        'get_device_name': GPU,
        'synchronize': None,
        'set_device': None,
    }
    for name, answer in answers.items():
        setattr(torch.cuda, name, lambda *_, answer=answer, **__: answer)
    torch.cuda.device = lambda _: warnings.catch_warnings()  # any context that does nothing
    torch._C._CudaDeviceProperties = Properties
    isfile = os.path.isfile
    os.path.isfile = lambda path: 'libtorchtrt' not in str(path) and isfile(path)
    import torch_tensorrt.dynamo.conversion._TRTInterpreter as interpreter

    class Runtime:
        def __init__(self, _: object) -> None:
            pass

        def deserialize_cuda_engine(self, payload: Any) -> SimpleNamespace:
            return SimpleNamespace(serialize=lambda: payload)

    class WithRuntime:
        def __getattr__(self, name: str) -> Any:
            return Runtime if name == 'Runtime' else getattr(trt, name)

    trt = interpreter.trt
    interpreter.trt = WithRuntime()
    os.path.isfile = isfile


def count_conversions() -> Counter[str]:
    """Count the operations that are converted from now on."""
    from torch_tensorrt.dynamo.conversion._TRTInterpreter import TRTInterpreter

    counted: Counter[str] = Counter()
    call_function = TRTInterpreter.call_function

    def call(self: Any, target: Any, args: Any, kwargs: Any) -> Any:
        counted[str(target)] += 1
        return call_function(self, target, args, kwargs)

    TRTInterpreter.call_function = call
    return counted


def main(folder: str, tensor: str, precision: str, max_batch: str) -> None:
    pretend()
    counted = count_conversions()
    from theia_ros import checkpoint
    from theia_ros.engine.split import export_part
    from theia_ros.engine.tensorrt_engine import TensorrtCompiler

    compiler = TensorrtCompiler(torch.device('cuda:0'), precision)
    model = compiler.prepare(checkpoint.load(Path(folder)))
    payload = compiler.build(export_part(model, tensor, int(max_batch)), int(max_batch))
    print(
        json.dumps(
            {
                'bytes': len(payload),
                'type': type(payload).__name__,
                'facts': dict(compiler.facts()),
                'converted': dict(counted),
            }
        )
    )


if __name__ == '__main__':
    main(*sys.argv[1:])

"""From a model to parts that run: export, compile and store what is not stored yet."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from collections.abc import Sequence
from functools import cached_property
from functools import partial
from typing import Protocol

import torch
from torch.export import ExportedProgram

from theia_ros.catalog import IMAGE_PX
from theia_ros.engine.base import Report
from theia_ros.engine.cache import EngineCache
from theia_ros.engine.cache import folder_of
from theia_ros.engine.engine_file import EngineKey
from theia_ros.engine.parts_engine import Executor
from theia_ros.engine.parts_engine import Runner
from theia_ros.engine.source import Source
from theia_ros.engine.split import export_part
from theia_ros.errors import EngineError
from theia_ros.errors import first_line
from theia_ros.errors import TheiaRosError
from theia_ros.model import CODE_VERSION
from theia_ros.model import TheiaModel
from theia_ros.params import EncoderParams


class Compiler(Protocol):
    """What a backend adds: how a part is compiled, and how the result is run.

    Attributes:
        backend: Key of `engine.BACKENDS`.
        precision: Its arithmetic.
        device: What it compiles for, for people.
    """

    backend: str
    precision: str
    device: str

    def facts(self) -> Mapping[str, str]:
        """Return the fields of `EngineKey` from `settings` on, but for `torch`."""

    def prepare(self, model: TheiaModel) -> TheiaModel:
        """Return the model to export, in the wanted precision; `model` is left as it is."""

    def build(self, program: ExportedProgram, max_batch: int) -> bytes:
        """Compile an exported part.

        Raises:
            Exception: Of any kind; compilers know many.
        """

    def load(self, payload: bytes) -> Runner:
        """Make what was built ready to run.

        Raises:
            EngineError: It cannot be loaded.
        """

    def executor(self, runners: Mapping[str, Runner], params: EncoderParams) -> Executor:
        """Return how loaded parts are run, by tensor, `theia` first."""


class PartsBuilder:
    """Builds the parts of one model with one compiler."""

    def __init__(
        self,
        compiler: Compiler,
        source: Source,
        params: EncoderParams,
        report: Report,
        must_store: bool = False,
    ) -> None:
        """Prepare to build; see `EngineCache` for `must_store`."""
        self._compiler, self._source, self._params = compiler, source, params
        self._report = report
        self._cache = EngineCache(folder_of(params), report, must_store)

    def key(self, tensor: str) -> EngineKey:
        """Return everything that decides the part of a tensor."""
        return EngineKey(
            model=self._source.name,
            config=self._source.shape,
            weights_sha256=self._source.weights_sha256,
            code=CODE_VERSION,
            part=tensor,
            image_hw=(IMAGE_PX, IMAGE_PX),
            max_batch=self._params.max_batch,
            backend=self._compiler.backend,
            precision=self._compiler.precision,
            torch=torch.__version__,
            **self._compiler.facts(),
        )

    def open(self, tensors: Sequence[str]) -> tuple[dict[str, Runner], str]:
        """Load parts, building those that are not stored yet.

        Args:
            tensors: Whose parts.

        Returns:
            Parts that are ready to run, by tensor, and the fingerprint of them all.

        Raises:
            EngineError: A part cannot be built or loaded.
            WeightsError: The model is missing or does not fit.
        """
        runners, digest = {}, hashlib.sha256()
        for tensor in tensors:
            key = self.key(tensor)
            digest.update(key.digest.encode())
            build = partial(self._build, tensor)
            runners[tensor] = self._cache.obtain(key, build, self._compiler.load)
        return runners, digest.hexdigest()

    def _build(self, tensor: str) -> bytes:
        name = f'{self._compiler.backend} {self._compiler.precision}'
        try:
            self._report(f'{tensor}: exporting')
            program = export_part(self._prepared, tensor, self._params.max_batch)
            self._report(f'{tensor}: compiling with {name}')
            return self._compiler.build(program, self._params.max_batch)
        except TheiaRosError:
            raise
        except Exception as exc:
            raise EngineError(
                f'{name} cannot build {tensor}: {type(exc).__name__}: {first_line(exc)}'
            ) from exc

    @cached_property
    def _prepared(self) -> TheiaModel:
        self._report('reading the weights')
        return self._compiler.prepare(self._source.model)

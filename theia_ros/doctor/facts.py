"""What the checks look at: the facts of this machine, each asked once, when it is needed."""

from __future__ import annotations

import configparser
import importlib.metadata
import os
import shutil
import sys
from collections.abc import Callable
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from dataclasses import field
from functools import cached_property
from pathlib import Path
from typing import Any

from theia_ros.doctor import apart
from theia_ros.doctor.apart import Outcome
from theia_ros.doctor.apart import ROOT
from theia_ros.errors import ParameterError
from theia_ros.params import EncoderParams
from theia_ros.params import make
from theia_ros.params import NodeParams

_OF_ENCODER = tuple(EncoderParams.__dataclass_fields__)


@dataclass(frozen=True)
class Request:
    """What the user wants to know.

    Attributes:
        given: Parameters of the node that were given by hand, by name.
        params_file: The node's parameter file, if there is one.
        open_engine: Whether to open the engine, which may build it for minutes.
    """

    given: Mapping[str, Any] = field(default_factory=dict)
    params_file: Path | None = None
    open_engine: bool = True


@dataclass
class Facts:
    """What the checks look at; tests put something else in its place.

    Attributes:
        request: What the user wants to know.
        ask: Asks a probe, as `apart.ask` does.
        report: Is told what is being done.
        environ: The variables that the node would have.
        python: Version of this interpreter.
        shared_memory: Where the kernel keeps it.
        ros_folder: Where packages of the system install ROS.
        which: Finds a program, as `shutil.which` does.
        disk_usage: Tells the space of a file system, as `shutil.disk_usage` does.
    """

    request: Request = field(default_factory=Request)
    ask: Callable[..., Outcome] = apart.ask
    report: Callable[[str], None] = lambda stage: None
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    python: tuple[int, ...] = sys.version_info[:3]
    shared_memory: Path = Path('/dev/shm')
    ros_folder: Path = Path('/opt/ros')
    which: Callable[[str], str | None] = shutil.which
    disk_usage: Callable[[Path], Any] = shutil.disk_usage

    # --- packages ------------------------------------------------------------------------------

    @cached_property
    def requirements(self) -> list[str]:
        """What this package asks of others, such as `numpy<3,>=1.21.5`; empty if unknown."""
        with suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.requires('theia_ros') or []
        # Run from its folder, without being installed.
        config = configparser.ConfigParser()
        config.read(ROOT / 'setup.cfg')
        return config.get('options', 'install_requires', fallback='').split('\n')[1:]

    def installed(self, name: str) -> str:
        """Return the version of a package of the index; empty if it is not installed."""
        with suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(name) or ''
        return ''

    # --- parameters ----------------------------------------------------------------------------

    @cached_property
    def node(self) -> Outcome:
        """An encoder node that was made with the parameter file, and not configured."""
        file = self.request.params_file
        return self._asked('starting ROS and the node', 'node', params_file=str(file or ''))

    @property
    def params_are_wrong(self) -> bool:
        """Whether there is a parameter file with which no node can be made."""
        return bool(self.request.params_file and self.node.failure)

    @cached_property
    def params(self) -> NodeParams:
        """The parameters that the node would have; without those of the file if that is wrong."""
        of_file = self.node.answer.get('params', {}) if self.request.params_file else {}
        with suppress(ParameterError):
            return make(NodeParams, {**of_file, **self.request.given})
        return make(NodeParams, self.request.given)

    @property
    def encoder_params(self) -> dict[str, Any]:
        """Those of them that the encoder has, for a probe."""
        return {name: getattr(self.params, name) for name in _OF_ENCODER}

    # --- probes --------------------------------------------------------------------------------

    @cached_property
    def ros(self) -> Outcome:
        """ROS, started."""
        return self._asked('starting ROS', 'ros')

    @cached_property
    def messages(self) -> Outcome:
        """The fields of theia_msgs."""
        return self._asked('reading theia_msgs', 'messages')

    @cached_property
    def cv_bridge(self) -> Outcome:
        """cv_bridge, used."""
        return self._asked('importing cv_bridge', 'cv_bridge')

    @cached_property
    def opencv(self) -> Outcome:
        """OpenCV, imported."""
        return self._asked('importing OpenCV', 'module', name='cv2')

    @cached_property
    def images(self) -> Outcome:
        """Large images, sent from one process to another."""
        return self._asked('sending images from one process to another', 'images')

    @cached_property
    def torch(self) -> Outcome:
        """Torch and what it knows of the GPUs."""
        return self._asked('importing torch', 'torch')

    @cached_property
    def tensorrt(self) -> Outcome:
        """Torch-TensorRT, imported."""
        return self._asked('importing Torch-TensorRT', 'tensorrt')

    @cached_property
    def openvino(self) -> Outcome:
        """OpenVINO, started."""
        return self._asked('importing OpenVINO', 'openvino')

    @cached_property
    def choice(self) -> Outcome:
        """The backend that the parameters mean."""
        return self._asked('choosing a backend', 'choice', params=self.encoder_params)

    @cached_property
    def model(self) -> Outcome:
        """The model, loaded strictly."""
        return self._asked('loading the model', 'model', params=self.encoder_params)

    @cached_property
    def engine(self) -> Outcome:
        """The engine, opened and compared; takes as long as it takes."""
        self.report('opening the engine')
        return self.ask(
            'engine',
            {'params': self.encoder_params},
            patience_s=None,
            report=self.report,
            environ=self.environ,
        )

    def _asked(self, stage: str, probe: str, **arguments: Any) -> Outcome:
        self.report(stage)
        return self.ask(probe, arguments, environ=self.environ)

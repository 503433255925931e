"""A model folder whose weights are read only when something needs them."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import cached_property

from theia_ros import checkpoint
from theia_ros.catalog import find_model
from theia_ros.model import ModelConfig
from theia_ros.model import TheiaModel


class Source:
    """The model that engines are made from.

    Attributes:
        name: Of the model, for people.
    """

    def __init__(self, model: str) -> None:
        """Find the folder of a model.

        Args:
            model: A name of the catalogue, or a folder.

        Raises:
            ParameterError: It is neither.
            WeightsError: The catalogue has it, but it was not fetched yet.
        """
        self._folder = find_model(model)
        self.name = self._folder.resolve().name

    @cached_property
    def config(self) -> ModelConfig:
        """Shape of the model."""
        return checkpoint.read_config(self._folder)

    @property
    def shape(self) -> str:
        """The same as JSON."""
        return json.dumps(asdict(self.config), sort_keys=True)

    @cached_property
    def weights_sha256(self) -> str:
        """Checksum of the file with the weights."""
        return checkpoint.weights_sha256(self._folder)

    @cached_property
    def model(self) -> TheiaModel:
        """The model in float32 on the CPU; shared, so nobody may change it."""
        return checkpoint.load(self._folder)

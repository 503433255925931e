"""The student: from scratch, or from a model that is there."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from theia_ros.catalog import find_model
from theia_ros.distil.config import DistilConfig
from theia_ros.distil.truth import OFFSET
from theia_ros.engine.source import Source
from theia_ros.model import ModelConfig
from theia_ros.model import TheiaModel
from theia_ros.parts import read_statistics
from theia_ros.parts import Statistics


def make(config: DistilConfig) -> TheiaModel:
    """Return the student before its first step, the same one for the same settings.

    Raises:
        ParameterError: There is no such model to begin with.
        WeightsError: It is damaged.
    """
    begin = Source(config.init) if config.init else None
    shape = ModelConfig(config.student, config.teachers)
    if begin:
        shape = ModelConfig(begin.config.student, config.teachers, begin.config.layer_norm_eps)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = TheiaModel(shape)
        if not begin:
            _initialise(model.backbone)
    if 'depth' in config.teachers:
        *_, last = model.heads['depth'].children()
        nn.init.constant_(last.get_parameter('bias'), OFFSET)
    if begin:
        model.backbone.load_state_dict(begin.model.backbone.state_dict())
        for name in known_heads(config):
            model.heads[name].load_state_dict(begin.model.heads[name].state_dict())
    model.backbone.requires_grad_(config.train == 'all')
    return model


def untrained(config: DistilConfig) -> TheiaModel:
    """Return a model of the student's size that knows nothing."""
    student = Source(config.init).config.student if config.init else config.student
    return make(replace(config, student=student, init='', train='all'))


def known_heads(config: DistilConfig) -> list[str]:
    """Return the heads that come with the model that a run begins with."""
    heads = Source(config.init).config.teachers if config.init else ()
    return [name for name in config.teachers if name in heads]


def known_statistics(config: DistilConfig) -> dict[str, Statistics]:
    """Return the statistics that a head which goes on from a checkpoint was trained with."""
    found = {n: read_statistics(find_model(config.init), n) for n in known_heads(config)}
    return {name: statistics for name, statistics in found.items() if statistics}


def _initialise(backbone: nn.Module) -> None:
    """Draw weights as DeiT does: a normal distribution, cut off, of deviation 0.02."""
    for name, parameter in backbone.named_parameters():
        if 'norm' in name:
            continue  # gains of 1 and biases of 0 already
        if name.endswith('bias'):
            nn.init.zeros_(parameter)
        else:
            nn.init.trunc_normal_(parameter, std=0.02)

"""What a check finds."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from enum import IntEnum
from typing import Any


class Level(IntEnum):
    """How bad a finding is, the worst last."""

    OK = 0
    WARNING = 1
    """The node runs, but something is slower, or less, than it could be."""
    ERROR = 2
    """The node would not run."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: Of the thing, in a word or two.
        level: How bad it is.
        found: What is there.
        wrong: What is the matter with it, and what that costs; empty if nothing is.
        cures: Commands, or what to do where no command can: any one of them cures it.
        figures: Numbers behind it, for programs.
    """

    name: str
    level: Level
    found: str
    wrong: str = ''
    cures: tuple[str, ...] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)


def ok(name: str, found: str, **figures: Any) -> Finding:
    """Return a finding that is as it should be."""
    return Finding(name, Level.OK, found, figures=figures)


def warning(name: str, found: str, wrong: str, *cures: str, **figures: Any) -> Finding:
    """Return a finding with which the node still runs."""
    return Finding(name, Level.WARNING, found, wrong, cures, figures)


def error(name: str, found: str, wrong: str, *cures: str, **figures: Any) -> Finding:
    """Return a finding with which the node does not run."""
    return Finding(name, Level.ERROR, found, wrong, cures, figures)


def worst(findings: Sequence[Finding]) -> Level:
    """Return the level of the worst finding; `OK` where there is none."""
    return max((finding.level for finding in findings), default=Level.OK)

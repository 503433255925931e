"""Kinds of arguments that several scripts take."""

from __future__ import annotations

import argparse


def whole(text: str) -> int:
    """Return a whole number from 1 on, as a `type` of argparse."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f'{value} is not positive')
    return value

"""What became of the pictures of a recording, for people and for what tells of the result."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from theia_ros.bags.cameras import Camera
from theia_ros.bags.journal import Journal


def summary(cameras: Mapping[str, Camera], journal: Journal) -> dict[str, Any]:
    """Return by camera its topic and what became of its pictures, in plain values.

    Each of the `pictures` is `encoded`, was `limited` by the rate, or is counted as `bad` by its
    reason.
    """
    return {
        camera.name: {
            'topic': camera.topic,
            'pictures': camera.pictures,
            'encoded': journal.counts[camera.name, ''],
            'limited': camera.limited,
            'bad': {
                reason: count
                for (name, reason), count in sorted(journal.counts.items())
                if name == camera.name and reason
            },
            'longest_gap_s': round(camera.longest_gap_s, 3),
        }
        for camera in cameras.values()
    }


def encoded(cameras: Mapping[str, Any]) -> int:
    """Return the number of pictures that were encoded, of all cameras of a summary."""
    return sum(camera['encoded'] for camera in cameras.values())


def as_text(told: Mapping[str, Any], out: str, tensors: Sequence[str]) -> str:
    """Return a summary as lines: the result, then each camera."""
    cameras = told['cameras']
    lines = [
        f'{out}: {", ".join(tensors)} of {encoded(cameras)} pictures, digest {told["digest"]}'
    ]
    for name, camera in cameras.items():
        parts = [
            f'{camera["encoded"]} of {camera["pictures"]} pictures',
            f'{camera["limited"]} left out by the rate' if camera['limited'] else '',
            f'bad: {reasons(camera["bad"])}' if camera['bad'] else '',
            f'longest gap {camera["longest_gap_s"]:.2f} s',
        ]
        lines.append(f'  {name}, {camera["topic"]}: {", ".join(filter(None, parts))}')
    return '\n'.join(lines)


def why_nothing(bag: str, cameras: Mapping[str, Any]) -> str:
    """Return why there is no result."""
    if not any(camera['pictures'] for camera in cameras.values()):
        return f'{bag} has no pictures of {", ".join(cameras)} in the time asked for'
    each = (f'{name}: {reasons(camera["bad"]) or "none"}' for name, camera in cameras.items())
    return f'no picture of {bag} can be used, bad are {"; ".join(each)}'


def reasons(bad: Mapping[str, int]) -> str:
    """Return counts by reason, for people."""
    return ', '.join(f'{count} {reason}' for reason, count in bad.items())

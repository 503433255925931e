"""What a configuration of rviz subscribes to."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any


def displays_of(config: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Give each display that has a topic, those of groups included."""
    displays = list(config['Visualization Manager']['Displays'])
    while displays:
        display = displays.pop(0)
        displays += display.get('Displays', ())
        if 'Topic' in display:
            yield display


def topics_of(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return class and topic of each of them."""
    return [(display['Class'], display['Topic']['Value']) for display in displays_of(config)]

"""What runs the model here, and whether its numbers are right."""

from __future__ import annotations

import re
from collections.abc import Iterator
from collections.abc import Mapping
from shlex import quote
from typing import Any

from theia_ros.doctor import model
from theia_ros.doctor import storage
from theia_ros.doctor.facts import Facts
from theia_ros.doctor.finding import error
from theia_ros.doctor.finding import Finding
from theia_ros.doctor.finding import ok
from theia_ros.doctor.finding import warning


def openvino(facts: Facts) -> Iterator[Finding]:
    """Start OpenVINO, the fast engine where there is no GPU."""
    if facts.torch.answer.get('devices'):
        return  # nobody would use it
    if not facts.openvino.failure:
        answer = facts.openvino.answer
        yield ok('OpenVINO', f'{answer["version"]}, computes in {", ".join(answer["precisions"])}')
        return
    missing = "No module named 'openvino'" in facts.openvino.failure
    yield warning(
        'OpenVINO',
        'not installed' if missing else f'broken: {facts.openvino.failure}',
        'torch runs the model instead, which is slower on a CPU',
        "python3 -m pip install 'theia_ros[cpu]'",
    )


def choice(facts: Facts) -> Iterator[Finding]:
    """Tell which backend the node would open, and why."""
    if facts.torch.failure or facts.params_are_wrong:
        return  # said already
    asked = facts.params.backend
    if facts.choice.failure:
        cure = 'use --backend auto and --device auto, and the same parameters for the node'
        yield error('backend', asked, facts.choice.failure, cure)
        return
    answer = facts.choice.answer
    found = f'{answer["backend"]} on {answer["device"]}'
    if asked == 'auto':
        found += f', chosen by auto: {answer["why"]}'
    if answer['backend'] == 'fake':
        wrong = 'the fake computes nothing and is wrong on purpose; it is for tests'
        yield warning('backend', found, wrong, 'use --backend auto')
    else:
        yield ok('backend', found)


def parity(facts: Facts) -> Iterator[Finding]:
    """Open the engine that the node would open, and compare it with the float32 reference."""
    if facts.params_are_wrong:
        yield warning('engine', 'not opened', 'the parameter file is wrong, see above')
        return
    if facts.torch.failure or facts.choice.failure:
        return  # said already
    if model.is_needed(facts) and (not model.is_here(facts.params.model) or facts.model.failure):
        return  # said already
    if not facts.request.open_engine:
        yield ok('engine', 'not opened (--no-engine)')
        return
    if failure := facts.engine.failure:
        yield error('engine', 'cannot be opened', failure, *_other_engines(facts))
        return
    answer = facts.engine.answer
    figures: Mapping[str, Mapping[str, Any]] = answer['parity']
    if answer['refused']:
        wrong = re.sub(r';[^;]*$', '', answer['refused'])
        found = 'opened and compared, and refused by the node'
        yield error('engine', found, wrong, *_build_again(facts), *_other_engines(facts))
    else:
        found = (
            f'{answer["backend"]} {answer["precision"]} on {answer["device"]}, opened in '
            f'{answer["open_s"]:.1f} s'
        )
        if answer['fell_back']:
            yield warning('engine', found, answer['fell_back'], *_build_again(facts))
        else:
            yield ok('engine', found)
    if not figures:
        yield warning(
            'parity', 'not compared', 'the fake is wrong on purpose', 'use --backend auto'
        )
    for name, f in figures.items():
        line = (
            f'cosine {f["cosine"]:.7f} (at least {f["cosine_limit"]}), largest error '
            f'{f["max_abs_error"]:.2g} (at most {f["error_limit"]:.2g})'
        )
        if not f['good']:
            yield error(f'parity {name}', line, 'too far from the float32 reference', **f)
        else:
            yield ok(f'parity {name}', line, **f)


def _other_engines(facts: Facts) -> tuple[str, ...]:
    """Return commands that try another engine."""
    quoted = quote(facts.params.model)
    return (f'theia-ros doctor --model {quoted} --backend torch --precision fp32',)


def _build_again(facts: Facts) -> tuple[str, ...]:
    """Return the command that builds stored engines again."""
    return (
        f'rm {quote(str(storage.engines(facts)))}/*.engine && theia-ros build-engine --model '
        f'{quote(facts.params.model)} --backend {facts.params.backend}',
    )

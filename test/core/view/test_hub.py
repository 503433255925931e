from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from theia_ros.view.hub import Browser
from theia_ros.view.hub import Hub
from theia_ros.view.hub import packed
from theia_ros.view.hub import STATE


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(coroutine, 20))


async def nothing_comes(browser: Browser) -> bool:
    waiting = asyncio.create_task(browser.next())
    for _ in range(5):
        await asyncio.sleep(0)
    waiting.cancel()
    return not waiting.done()


@pytest.fixture
def wanted() -> list[frozenset[str]]:
    """What the hub has asked for, in order."""
    return []


@pytest.fixture
def hub(wanted) -> Hub:
    hub = Hub(wanted.append)
    hub.tell(b'state', frozenset('abc'))
    return hub


def test_message_is_head_and_picture() -> None:
    message = packed({'pane': '/ü'}, b'\x00\xff')

    length = int.from_bytes(message[:4], 'big')
    assert message[4 : 4 + length].decode() == '{"pane": "/\\u00fc"}'
    assert message[4 + length :] == b'\x00\xff'


def test_new_browser_is_told_the_state_and_nothing_else(hub) -> None:
    async def check() -> None:
        browser = hub.join()
        hub.offer('a', b'a1')
        assert await browser.next() == b'state'
        assert await nothing_comes(browser)

    run(check())


def test_newest_picture_wins(hub) -> None:
    async def check() -> None:
        browser = hub.join()
        await browser.next()
        hub.show(browser, ['a'])
        for i in range(100):
            hub.offer('a', b'%d' % i)
        assert await browser.next() == b'99'
        assert await nothing_comes(browser)

    run(check())


def test_next_picture_waits_until_the_browser_shows_the_last(hub) -> None:
    async def check() -> None:
        browser = hub.join()
        await browser.next()
        hub.show(browser, ['a', 'b'])
        hub.offer('a', b'a1')
        assert await browser.next() == b'a1'
        hub.offer('a', b'a2')
        hub.offer('a', b'a3')
        assert await nothing_comes(browser)
        hub.offer('b', b'b1')
        assert await browser.next() == b'b1'  # other panes do not wait for it
        browser.got('a')
        assert await browser.next() == b'a3'

    run(check())


def test_state_waits_for_its_turn_too(hub) -> None:
    async def check() -> None:
        browser = hub.join()
        assert await browser.next() == b'state'
        hub.tell(b'later', frozenset('a'))
        assert await nothing_comes(browser)
        browser.got(STATE)
        assert await browser.next() == b'later'

    run(check())


def test_who_waits_longest_comes_first(hub) -> None:
    async def check() -> None:
        browser = hub.join()
        await browser.next()
        hub.show(browser, ['a', 'b'])
        hub.offer('a', b'a1')
        hub.offer('b', b'b1')
        hub.offer('a', b'a2')
        assert [await browser.next(), await browser.next()] == [b'a2', b'b1']

    run(check())


def test_a_slow_browser_costs_the_others_nothing(hub) -> None:
    async def check() -> None:
        slow, quick = hub.join(), hub.join()
        for browser in (slow, quick):
            await browser.next()
            hub.show(browser, ['a'])
        hub.offer('a', b'0')
        assert await slow.next() == b'0'
        for i in range(1, 50):
            assert await quick.next() == b'%d' % (i - 1)
            quick.got('a')
            hub.offer('a', b'%d' % i)
        slow.got('a')
        assert await slow.next() == b'49'

    run(check())


def test_what_browsers_show_together_is_wanted(hub, wanted) -> None:
    async def check() -> None:
        first, second = hub.join(), hub.join()
        assert wanted == []
        hub.show(first, ['a'])
        hub.show(second, ['b', 'a'])
        hub.show(second, ['a', 'b'])
        hub.leave(first)
        hub.show(second, ['b'])
        hub.leave(second)

    run(check())
    assert wanted == [frozenset('a'), frozenset('ab'), frozenset('b'), frozenset()]


def test_only_what_is_known_can_be_had(hub, wanted) -> None:
    async def check() -> None:
        browser = hub.join()
        await browser.next()
        hub.show(browser, ['/rosout', 'a', STATE])
        hub.offer('/rosout', b'secret')
        assert await nothing_comes(browser)

    run(check())
    assert wanted == [frozenset('a')]


def test_hidden_pane_gets_no_picture_that_was_waiting(hub) -> None:
    async def check() -> None:
        browser = hub.join()
        hub.show(browser, ['a'])
        hub.offer('a', b'a1')
        hub.show(browser, [])
        assert await browser.next() == b'state'
        assert await nothing_comes(browser)

    run(check())

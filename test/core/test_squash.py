from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from helpers import cuda_on_host
from helpers.cuda_on_host import Graph
from helpers.cuda_on_host import HOST
from helpers.pictures import hard_ones
from helpers.pictures import noise
from helpers.pictures import SIZES_HW

from theia_ros import squash as squash_module
from theia_ros.errors import EngineError
from theia_ros.resize import by_pillow
from theia_ros.squash import preparation
from theia_ros.squash import Squash

GPU = pytest.param(
    'cuda',
    marks=[
        pytest.mark.gpu,
        pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device'),
    ],
)


@pytest.fixture(scope='module', params=['cpu', 'pretended', GPU])
def squash(request: pytest.FixtureRequest) -> Iterator[Squash]:
    if request.param == 'cpu':
        yield Squash(HOST, graphs=False)
    elif request.param == 'cuda':
        yield Squash(torch.device('cuda'), graphs=True)
    else:
        with pytest.MonkeyPatch.context() as patch:
            cuda_on_host.pretend(patch)
            yield Squash(HOST, graphs=True)


@pytest.mark.parametrize('size', SIZES_HW, ids=str)
def test_same_bytes_as_pillow(squash: Squash, size: tuple[int, int]) -> None:
    for picture in hard_ones(*size):
        (found,) = squash([picture]).cpu().numpy()
        assert found.shape == (224, 224, 3)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, by_pillow(picture))


def test_sizes_that_nobody_chose(squash: Squash) -> None:
    rng = np.random.default_rng(1)
    for seed, size in enumerate(rng.integers(1, 900, (40, 2))):
        picture = noise(*size, seed)
        np.testing.assert_array_equal(squash([picture])[0].cpu(), by_pillow(picture))


def test_a_batch_of_several_sizes_keeps_its_order(squash: Squash) -> None:
    sizes = [(480, 640), (480, 640), (30, 40), (480, 640), (224, 224)]
    pictures = [noise(*size, seed) for seed, size in enumerate(sizes)]
    found = squash(pictures).cpu().numpy()
    np.testing.assert_array_equal(found, np.stack([by_pillow(p) for p in pictures]))


@pytest.mark.parametrize('size', [(480, 640), (224, 224)])
def test_earlier_batches_are_left_alone(squash: Squash, size: tuple[int, int]) -> None:
    first = squash([noise(*size)])
    before = first.clone()
    squash([noise(*size, 1)])
    assert torch.equal(first, before)


def test_a_shape_is_recorded_when_it_comes_again(graphs: list[Graph]) -> None:
    squash = Squash(HOST, graphs=True)
    rounds = [[(48, 64)], [(30, 40)], [(48, 64)] * 2, [(48, 64)], [(48, 64)] * 2, [(48, 64)]]
    recorded = []
    for seed, sizes in enumerate(rounds):
        pictures = [noise(*size, seed) for size in sizes]
        found = squash(pictures).numpy()
        np.testing.assert_array_equal(found, np.stack([by_pillow(p) for p in pictures]))
        recorded.append([graph.replays for graph in graphs])
    assert recorded == [[], [], [], [1], [1, 1], [2, 1]]


@pytest.mark.parametrize(
    ('size', 'graph'), [((224, 224), False), ((1080, 1920), True), ((1600, 1920), False)]
)
def test_what_is_worth_a_graph(size: tuple[int, int], graph: bool, graphs: list[Graph]) -> None:
    squash = Squash(HOST, graphs=True)
    for seed in range(3):
        picture = noise(*size, seed)
        np.testing.assert_array_equal(squash([picture])[0], by_pillow(picture))
    assert len(graphs) == graph


def test_nothing_is_recorded_unless_it_shall_be(graphs: list[Graph]) -> None:
    squash = Squash(HOST, graphs=False)
    for _ in range(3):
        squash([noise(48, 64)])
    assert graphs == []


@pytest.mark.parametrize(
    ('height_px', 'products'), [(480, 1), (481, 3 * 481 * 224 * 2), (482, 3 * 482 * 224 * 5 + 1)]
)
def test_large_pictures_are_summed_in_parts(
    squash: Squash, height_px: int, products: int, monkeypatch
) -> None:
    monkeypatch.setattr(squash_module, '_MOST_PRODUCTS', products)
    picture = noise(height_px, 600)
    for _ in range(3):
        np.testing.assert_array_equal(squash([picture])[0].cpu(), by_pillow(picture))


def test_a_device_that_cannot_is_told_in_one_line(squash: Squash, monkeypatch) -> None:
    def resized(_: object) -> None:
        raise torch.OutOfMemoryError('CUDA out of memory.\nmuch more')

    monkeypatch.setattr(squash, '_resized', resized)
    with pytest.raises(EngineError, match=r'^c.* cannot resize pictures: CUDA out of memory\.$'):
        squash([noise(4, 4)])


def test_pictures_that_are_no_array_of_their_own(squash: Squash) -> None:
    """Read-only, and a view with steps, as from messages with padded rows."""
    picture = noise(480, 640)
    view = picture[:, 4:-4]
    view.flags.writeable = False
    np.testing.assert_array_equal(squash([view])[0].cpu(), by_pillow(view))
    np.testing.assert_array_equal(
        squash([picture[..., ::-1]])[0].cpu(), by_pillow(picture[..., ::-1])
    )


def test_an_engine_on_the_host_is_prepared_for_there() -> None:
    prepare, note = preparation('official', torch.device('cpu'), True)
    assert (note, not isinstance(prepare, Squash)) == ('', True)
    np.testing.assert_array_equal(prepare([noise(48, 64)])[0], by_pillow(noise(48, 64)))


def test_the_host_tells_why_pillow_resizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(squash_module, 'fastest', lambda: (by_pillow, 'there is no compiler'))
    assert preparation('official', torch.device('cpu'), True)[1] == 'there is no compiler'
    assert preparation('native', torch.device('cpu'), True)[1] == ''


def test_other_bytes_are_told_and_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong(Squash):
        def __init__(self, device: torch.device, graphs: bool) -> None:
            super().__init__(HOST, graphs=False)

        def __call__(self, pictures: Sequence[np.ndarray]) -> torch.Tensor:
            return super().__call__(pictures) ^ 1

    monkeypatch.setattr(squash_module, 'Squash', Wrong)
    prepare, note = preparation('official', torch.device('cuda:7'), True)
    assert note == 'pictures are resized on the host: cuda:7 gives other bytes'
    np.testing.assert_array_equal(prepare([noise(48, 64)])[0], by_pillow(noise(48, 64)))


def test_a_device_that_cannot_is_told_and_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    class Unable(Squash):
        def __init__(self, device: torch.device, graphs: bool) -> None:
            super().__init__(HOST, graphs=False)

        def __call__(self, pictures: Sequence[np.ndarray]) -> torch.Tensor:
            raise EngineError('cuda:7 cannot resize pictures: no kernel image')

    monkeypatch.setattr(squash_module, 'Squash', Unable)
    prepare, note = preparation('official', torch.device('cuda:7'), True)
    assert (
        note == 'pictures are resized on the host: cuda:7 cannot resize pictures: no kernel image'
    )
    np.testing.assert_array_equal(prepare([noise(48, 64)])[0], by_pillow(noise(48, 64)))


def test_a_recording_that_gives_other_bytes_is_not_used(
    monkeypatch: pytest.MonkeyPatch, graphs: list[Graph]
) -> None:
    class Here(Squash):
        def __init__(self, device: torch.device, graphs: bool) -> None:
            super().__init__(HOST, graphs)

    monkeypatch.setattr(squash_module, 'Squash', Here)
    monkeypatch.setattr(Graph, 'replay', lambda self: None)
    _, note = preparation('official', torch.device('cuda:7'), True)
    assert note == 'pictures are resized on the host: cuda:7 gives other bytes'


def test_the_same_bytes_are_made_where_the_engine_is(monkeypatch: pytest.MonkeyPatch) -> None:
    class Here(Squash):
        def __init__(self, device: torch.device, graphs: bool) -> None:
            super().__init__(HOST, graphs=False)

    monkeypatch.setattr(squash_module, 'Squash', Here)
    prepare, note = preparation('official', torch.device('cuda:7'), True)
    assert (note, type(prepare)) == ('', Here)
    host, note = preparation('native', torch.device('cuda:7'), True)
    assert (note, isinstance(host, Squash)) == ('', False)

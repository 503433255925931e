from __future__ import annotations

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from helpers.pictures import hard_ones
from helpers.pictures import noise
from helpers.pictures import SIZES_HW

from theia_ros import resize
from theia_ros.catalog import IMAGE_PX
from theia_ros.preprocess import official
from theia_ros.resize import by_pillow
from theia_ros.resize import Compiled
from theia_ros.resize import fastest
from theia_ros.resize import filter_table

C_SOURCE = Path(resize.__file__).with_name('resize.c')
# Ubuntu 22.04, whose gcc is 11, knows less than its successors; clang names things its own way.
COMPILERS = 'cc', 'gcc-11', 'clang'


@pytest.fixture(scope='module')
def compiled() -> Compiled:
    return Compiled(resize.LIBRARY)


def library(folder: Path, source: str, compiler: str = 'cc') -> Path:
    """Compile a library of one's own."""
    (folder / 'other.c').write_text(source)
    path = folder / 'other.so'
    command = [compiler, '-shared', '-fPIC', '-Wall', '-Wextra', '-Werror', '-O1']
    subprocess.run([*command, '-o', str(path), str(folder / 'other.c')], check=True)
    return path


def test_what_was_compiled_is_used() -> None:
    by, why = fastest()
    assert (type(by), why) == (Compiled, '')


@pytest.mark.parametrize('size', SIZES_HW, ids=str)
def test_same_bytes_as_pillow(compiled: Compiled, size: tuple[int, int]) -> None:
    for picture in hard_ones(*size):
        found = compiled(picture)
        assert (found.shape, found.dtype) == ((224, 224, 3), np.uint8)
        np.testing.assert_array_equal(found, by_pillow(picture))


def test_sizes_that_nobody_chose(compiled: Compiled) -> None:
    rng = np.random.default_rng(2)
    for seed, size in enumerate(rng.integers(1, 1500, (60, 2))):
        picture = noise(*size, seed)
        np.testing.assert_array_equal(compiled(picture), by_pillow(picture))


@pytest.mark.parametrize('length_px', range(1, 40))
def test_a_few_pixels_are_enough(compiled: Compiled, length_px: int) -> None:
    for picture in (noise(length_px, 300), noise(300, length_px), noise(length_px, length_px)):
        np.testing.assert_array_equal(compiled(picture), by_pillow(picture))


@pytest.mark.parametrize('compiler', [c for c in COMPILERS if shutil.which(c)])
@pytest.mark.parametrize('processor', ['__x86_64__', 'NO_PROCESSOR'])
def test_every_compiler_and_processor_gives_the_same_bytes(
    compiler: str, processor: str, tmp_path: Path
) -> None:
    """The loader takes the loops for AVX2 where it can, so the plain ones are compiled alone."""
    source = C_SOURCE.read_text()
    assert '__x86_64__' in source
    ours = Compiled(library(tmp_path, source.replace('__x86_64__', processor), compiler))
    for size in SIZES_HW:
        for picture in hard_ones(*size):
            np.testing.assert_array_equal(ours(picture), by_pillow(picture))


def test_nothing_beyond_a_picture_is_touched(tmp_path: Path) -> None:
    """With a sanitizer, which ends the process at the first byte too far."""
    asan = subprocess.run(
        ['cc', '-print-file-name=libasan.so'], capture_output=True, text=True, check=True
    ).stdout.strip()
    if not Path(asan).is_absolute():
        pytest.skip('the compiler has no sanitizer')
    path = tmp_path / 'resize.so'
    command = ['cc', '-shared', '-fPIC', '-g', '-fsanitize=address,undefined']
    subprocess.run([*command, '-fno-sanitize-recover', '-o', str(path), str(C_SOURCE)], check=True)
    code = (
        'import sys, pathlib, numpy as np\n'
        'from theia_ros.resize import Compiled\n'
        'resize = Compiled(pathlib.Path(sys.argv[1]))\n'
        'for height in [*range(1, 12), 223, 224, 225, 448, 480, 800]:\n'
        '    for width in [*range(1, 12), 223, 224, 225, 448, 640, 801]:\n'
        '        resize(np.full((height, width, 3), 255, np.uint8))\n'
        'print("done")\n'
    )
    done = subprocess.run(
        [sys.executable, '-c', code, str(path)],
        capture_output=True,
        text=True,
        env={
            'LD_PRELOAD': asan,
            'ASAN_OPTIONS': 'detect_leaks=0',
            'PYTHONMALLOC': 'malloc',
            'PYTHONPATH': str(C_SOURCE.parents[1]),
        },
    )
    assert (done.returncode, done.stdout) == (0, 'done\n'), done.stderr[-3000:]


def test_pictures_that_are_no_array_of_their_own(compiled: Compiled) -> None:
    """Read-only, and views with steps."""
    picture = noise(480, 640)
    picture.flags.writeable = False
    for view in (picture, picture[:, 4:-4], picture[::2, ::3], picture[..., ::-1]):
        np.testing.assert_array_equal(compiled(view), by_pillow(view))


@pytest.mark.parametrize(
    ('shape', 'dtype'),
    [
        ((5, 5), 'u1'),
        ((5, 5, 4), 'u1'),
        ((5, 5, 3), 'f4'),
        ((0, 5, 3), 'u1'),
        ((1, 5, 5, 3), 'u1'),
    ],
    ids=str,
)
def test_what_is_no_picture_is_refused(compiled: Compiled, shape, dtype) -> None:
    with pytest.raises(
        ValueError, match=rf'^expected a picture \(H, W, 3\) uint8, found \({shape[0]}'
    ):
        compiled(np.zeros(shape, dtype))


def test_several_threads_at_once(compiled: Compiled) -> None:
    pictures = [noise(100 + seed % 3, 300 + seed % 5, seed) for seed in range(60)]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(compiled, pictures))
    np.testing.assert_array_equal(found, [by_pillow(picture) for picture in pictures])


def test_without_a_library_pillow_resizes(tmp_path: Path) -> None:
    by, why = fastest(tmp_path / '_resize.so')
    assert by is by_pillow
    assert why == (
        'pictures are resized by Pillow, which takes longer: _resize.so was not compiled'
    )


def test_a_library_that_cannot_be_loaded(tmp_path: Path) -> None:
    (tmp_path / '_resize.so').write_bytes(b'for another machine')
    by, why = fastest(tmp_path / '_resize.so')
    assert by is by_pillow
    assert why.startswith('pictures are resized by Pillow, which takes longer: ')
    assert 'invalid ELF header' in why or 'file too short' in why


def test_a_library_with_other_functions(tmp_path: Path) -> None:
    by, why = fastest(library(tmp_path, 'int theia_resize_rows(void) { return 0; }'))
    assert by is by_pillow
    assert 'undefined symbol: theia_resize_columns' in why


def test_a_library_that_gives_other_bytes(tmp_path: Path) -> None:
    source = C_SOURCE.read_text()
    half = '#define HALF (1 << (BITS - 1))'
    assert half in source
    wrong = library(tmp_path, source.replace(half, '#define HALF ((1 << (BITS - 1)) - 64)'))
    assert fastest(wrong) == (
        by_pillow,
        f'pictures are resized by Pillow: {wrong} gives other bytes',
    )


def test_the_preset_takes_the_fastest(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, ...]] = []

    def counted(rgb: np.ndarray) -> np.ndarray:
        asked.append(rgb.shape)
        return by_pillow(rgb)

    monkeypatch.setattr('theia_ros.preprocess.fastest', lambda: (counted, ''))
    for size in [(48, 64), (IMAGE_PX, IMAGE_PX)]:
        np.testing.assert_array_equal(official(noise(*size)), by_pillow(noise(*size)))
    assert asked == [(48, 64, 3)]


@pytest.mark.parametrize('length_px', [1, 7, 224, 640, 1920, 8000])
def test_weights_of_a_pixel_make_one(length_px: int) -> None:
    first, weights = filter_table(length_px)
    assert first.min() == 0
    assert first.max() < length_px
    assert (weights >= 0).all()
    assert np.abs(weights.sum(axis=1) - 2**22).max() <= weights.shape[1]
    beyond = first[:, None] + np.arange(weights.shape[1]) >= length_px
    assert not weights[beyond].any()

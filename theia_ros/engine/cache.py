"""Built engines on disk, which cannot be stale.

The name of a file is a digest of everything that can make the engine in it wrong, and the file
holds the same facts in full, with a checksum. What does not fit is not trusted: it is built
again, and one line says why.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import contextmanager
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any
from typing import TextIO
from typing import TypeVar

from theia_ros.catalog import cache_folder
from theia_ros.catalog import user_path
from theia_ros.engine.base import Report
from theia_ros.engine.engine_file import differences
from theia_ros.engine.engine_file import EngineKey
from theia_ros.engine.engine_file import KIND
from theia_ros.engine.engine_file import read
from theia_ros.engine.engine_file import read_header
from theia_ros.engine.engine_file import Unusable
from theia_ros.engine.engine_file import write
from theia_ros.errors import EngineError
from theia_ros.errors import one_line
from theia_ros.params import EncoderParams

_LOG = logging.getLogger(__name__)

T = TypeVar('T')


class EngineCache:
    """A folder of built parts, shared by any number of processes."""

    def __init__(self, folder: Path, report: Report, must_store: bool = False) -> None:
        """Use a folder, which is made when it is first written to.

        Args:
            folder: May be missing, read-only or full; engines are then built every time.
            report: Is told why something is built, and whom it waits for.
            must_store: What cannot be stored is an error.
        """
        self.folder = folder
        self._report = report
        self._must_store = must_store

    def obtain(self, key: EngineKey, build: Callable[[], bytes], load: Callable[[bytes], T]) -> T:
        """Load a stored part, or build, store and load it.

        Args:
            key: Of the part.
            build: Returns the part as bytes.
            load: Takes the bytes.

        Returns:
            What `load` returns.

        Raises:
            EngineError: From `build` and `load`, or nothing can be stored though it must.
        """
        path = self.folder / key.file_name
        with suppress(Unusable):
            return self._load(path, key, load)
        with self._locked(path):
            # Another process may have built it meanwhile.
            try:
                return self._load(path, key, load)
            except Unusable as exc:
                self._report(f'{key.part}: building, {exc}')
            payload = build()
            loaded = load(payload)
            self._store(path, key, payload)
        return loaded

    def _load(self, path: Path, key: EngineKey, load: Callable[[bytes], T]) -> T:
        try:
            payload = read(path, key)
        except FileNotFoundError:
            raise Unusable(self._why_missing(key)) from None
        except OSError as exc:
            raise Unusable(f'{path.name} cannot be read: {exc.strerror}') from exc
        try:
            return load(payload)
        except Exception as exc:  # runtimes know many for what they cannot read
            raise Unusable(f'{path.name} cannot be loaded: {one_line(exc)}') from exc

    def _why_missing(self, key: EngineKey) -> str:
        """Say what differs from the newest engine of the same kind, or else of the same part."""
        stored = list(self._newest_first())

        def differing(shared: Iterable[str]) -> str:
            alike = (
                k for k in stored if all(k.get(name) == getattr(key, name) for name in shared)
            )
            # A copy under another name differs in nothing.
            return next(filter(None, (differences(other, key) for other in alike)), '')

        if changed := differing(KIND):
            return f'an older engine differs in {changed}'
        if changed := differing(('model', 'part')):
            return f'none is stored yet; another one differs in {changed}'
        return 'none is stored yet'

    def _newest_first(self) -> Iterator[Mapping[str, Any]]:
        """Yield the keys of the stored engines that can be read."""
        paths: list[tuple[float, Path]] = []
        with suppress(OSError):
            paths = [(path.stat().st_mtime, path) for path in self.folder.glob('*.engine')]
        for _, path in sorted(paths, reverse=True):
            with suppress(Unusable, OSError):
                yield read_header(path)[0]['key']

    @contextmanager
    def _locked(self, path: Path) -> Iterator[None]:
        """Let one process at a time build a part; the kernel frees what a dead one held."""
        lock = path.with_suffix('.lock')
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            file = lock.open('w')
            while not self._lock(file, path):
                file.close()
                file = lock.open('w')
        except OSError as exc:
            self._cannot_write(exc)
            yield
            return
        try:
            yield
        finally:
            with suppress(OSError):
                lock.unlink()
            file.close()

    def _lock(self, file: TextIO, path: Path) -> bool:
        """Wait for a lock, and return whether it is the one that others wait for, too."""
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._report(f'waiting for another process that builds {path.name}')
                fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:  # a file system without locks: two may build the same
            return True
        if not _is_still_there(file):
            return False
        # Nobody else writes to this name now: whoever did, died.
        with suppress(OSError):
            for left in self.folder.glob(f'{path.stem}.*.part'):
                left.unlink(missing_ok=True)
        return True

    def _store(self, path: Path, key: EngineKey, payload: bytes) -> None:
        part = path.with_name(f'{path.stem}.{os.urandom(8).hex()}.part')
        try:
            with part.open('xb') as file:
                write(file, key, payload)
            part.replace(path)
        except OSError as exc:
            self._cannot_write(exc)
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)

    def _cannot_write(self, error: OSError) -> None:
        no_folder = os.path.lexists(self.folder) and not self.folder.is_dir()
        why = 'it is no folder' if no_folder else str(error.strerror)
        if self._must_store:
            raise EngineError(
                f'engines cannot be stored in {self.folder} ({why}); name another folder'
            ) from error
        _warn_once(self.folder, why)


@cache
def _warn_once(folder: Path, why: str) -> None:
    _LOG.warning(
        'engines cannot be stored in %s (%s): they are built again at every start; parameter '
        'engine_cache names another folder',
        folder,
        why,
    )


def _is_still_there(file: TextIO) -> bool:
    """Return whether the name of an open file stands for it; who had it before may remove it."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), Path(file.name).stat())
    except FileNotFoundError:
        return False


def folder_of(params: EncoderParams) -> Path:
    """Return the folder that the parameters name for engines."""
    if params.engine_cache:
        return user_path(params.engine_cache)
    return cache_folder() / 'engines'

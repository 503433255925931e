"""Files that commands write: there as a whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from theia_ros.errors import ParameterError


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Give a file to write, which takes its name once all is in it.

    Raises:
        ParameterError: It cannot be written.
    """
    part = path.with_name(f'theia-ros-{os.urandom(8).hex()}.part')
    try:
        with part.open('xb') as file:
            yield file
        part.replace(path)
    except OSError as exc:
        raise ParameterError(f'{path} cannot be written: {exc.strerror}') from exc
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)

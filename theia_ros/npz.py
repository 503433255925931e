"""Files of arrays, as `numpy.savez` writes and `numpy.load` reads them."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from typing import Any
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray


def write_npz(file: BinaryIO, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays by name, without compression.

    `numpy.savez` of numpy 1 does not close its zip file when the disk is full, which then
    complains on the error stream when it is collected.

    Raises:
        OSError: They cannot be written.
    """
    with zipfile.ZipFile(file, 'w') as archive:
        for name, array in arrays.items():
            with archive.open(f'{name}.npy', 'w', force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)

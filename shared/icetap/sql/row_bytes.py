"""The bytes of many rows as a server sent them, read at many positions at once: Arrow columns without an object per value.

Needs numpy (`icetap[row-bytes]`).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    import numpy.typing as npt

    Octets = npt.NDArray[np.uint8]
    Positions = npt.NDArray[np.int64]
    Mask = npt.NDArray[np.bool_]

PADDING = 16
"""So many bytes behind the last row can be asked for."""


class RowFormatError(Exception):
    """Bytes that are no rows of the columns that were described."""


@dataclass(frozen=True, slots=True)
class Block:
    """Whole rows as they came: the bytes, `PADDING` more behind them, and where each row begins and ends."""

    octets: Octets
    begins: Positions
    ends: Positions


@dataclass(frozen=True, slots=True)
class Values:
    """Where the values of a column begin and end; a NULL has no bytes. `is_null` is None where none is."""

    begins: Positions
    ends: Positions
    is_null: Mask | None

    def __len__(self) -> int:
        return len(self.begins)

    def validity(self) -> pa.Buffer | None:
        """Return Arrow's bitmap of them."""
        return None if self.is_null is None else bitmap(~self.is_null)


def bitmap(mask: Mask | Octets) -> pa.Buffer:
    """Return a bit for each element that is not zero."""
    return pa.py_buffer(np.packbits(mask, bitorder="little"))


class RowBytes:
    """The bytes of a block.

    Args:
        octets: With `PADDING` more behind the last row.
    """

    def __init__(self, octets: Octets) -> None:
        self.octets = octets
        self.content = pa.py_buffer(octets)

    def at(self, kind: str, positions: Positions) -> npt.NDArray[Any]:
        """Return what stands at these positions, in the machine's byte order.

        Args:
            kind: A type of numpy's, such as `>i4`.
            positions: Aligned to nothing.

        Raises:
            RowFormatError: When one lies beyond the bytes.
        """
        dtype = np.dtype(kind)
        overlapping: npt.NDArray[Any] = np.ndarray(
            (len(self.octets) - dtype.itemsize + 1,), dtype, self.octets, strides=(1,)
        )
        try:
            found = overlapping[positions]
        except IndexError:
            raise RowFormatError("a value lies beyond the rows") from None
        return found.astype(dtype.newbyteorder("="), copy=False)

    def fixed(self, kind: str, values: Values) -> npt.NDArray[Any]:
        """Return values of one length; zeros for NULLs, as other values stand there, which nobody may see."""
        found = self.at(kind, values.begins)
        if values.is_null is not None:
            found[values.is_null] = np.zeros(1, found.dtype)[0]
        return found

    def between(self, values: Values, kind: pa.DataType) -> pa.Array:
        """Return texts or bytes, copied once.

        They are chosen from an array over all the bytes, in which every other element is a value and the rest is what
        lies between.
        """
        count = len(values)
        if not count:
            return pa.array([], kind)
        offsets = np.empty(2 * count, np.int32)
        offsets[0::2], offsets[1::2] = values.begins, values.ends
        everything = pa.Array.from_buffers(kind, 2 * count - 1, [None, pa.py_buffer(offsets), self.content])
        chosen = _evens(count)
        return everything.take(
            pa.array(chosen) if values.is_null is None else pa.array(chosen, mask=values.is_null)
        )


def array(kind: pa.DataType, found: npt.NDArray[Any], values: Values) -> pa.Array:
    """Return an Arrow array of numbers that lie in memory as it has them."""
    return pa.Array.from_buffers(
        kind, len(found), [values.validity(), pa.py_buffer(np.ascontiguousarray(found).view(np.uint8))]
    )


@functools.lru_cache(maxsize=2)
def _evens(count: int) -> npt.NDArray[np.int32]:
    return np.arange(0, 2 * count, 2, dtype=np.int32)

"""Mends how pyiceberg 0.12 reads doubles in manifests.

Its compiled Avro decoder returns doubles as 32-bit floats: 0.1 comes back as 0.10000000149, 1e300 as infinity
(`pyiceberg/avro/decoder_fast.pyx`, read 2026-11-21). Manifests hold doubles as partition values only. Tables that
are partitioned by a double unchanged would be read in part, and the wrong values would be written back with every
manifest that is written again. Remove this module when its test says so.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from pyiceberg.avro import reader

if TYPE_CHECKING:
    from pyiceberg.avro.decoder import BinaryDecoder

_DOUBLE = struct.Struct("<d")


def _read(self: reader.DoubleReader, decoder: BinaryDecoder) -> float:
    del self
    return float(_DOUBLE.unpack(decoder.read(8))[0])


def mend() -> None:
    """Have every reader of this process read doubles with all their bits."""
    reader.DoubleReader.read = _read  # type: ignore[method-assign]

"""pyiceberg's reading of doubles in manifests: the fault, and its mending."""

from __future__ import annotations

import io
import struct

from pyiceberg.avro.decoder import new_decoder
from pyiceberg.avro.encoder import BinaryEncoder
from pyiceberg.avro.reader import DoubleReader

from icetap import avro_doubles


def test_the_fault_is_still_there():
    decoded = new_decoder(struct.pack("<d", 0.1)).read_double()
    assert decoded != 0.1, "pyiceberg reads doubles rightly now: remove icetap.avro_doubles and what calls it"


def test_doubles_keep_all_their_bits():
    avro_doubles.mend()
    values = [0.1, -0.0, 1e300, 5e-324, float("inf")]
    written = io.BytesIO()
    encoder = BinaryEncoder(written)  # type: ignore[arg-type]  # it only writes
    for value in values:
        encoder.write_double(value)
    decoder = new_decoder(written.getvalue())
    assert [struct.pack("<d", DoubleReader().read(decoder)) for _ in values] == [
        struct.pack("<d", value) for value in values
    ]

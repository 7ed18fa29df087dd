"""The packets of a result as they come from the server, up to the one that says that it is complete.

A packet has three bytes of length, one that counts packets, and its payload; a row is one packet, or several when
it has 16 MB and more.

https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_packets.html (read 2026-11-21)
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

HEADER = 4
LARGEST_PACKET = 0xFFFFFF
"""A packet of this length goes on in the next one."""

_READ_BYTES = 1 << 20
_ROW, _ERROR = 0x00, 0xFF
_header = struct.Struct("<I").unpack_from


class Source(Protocol):
    """Where the bytes come from: a connection's buffered socket."""

    def read1(self, size: int, /) -> bytes:
        """Return what has come, at most `size` bytes; nothing when the other side hung up."""


class CutOffError(Exception):
    """The bytes ended, or were not in order, before the server said that the result is complete."""


@dataclass(frozen=True, slots=True)
class Block:
    """Rows as they came: the bytes, and where the payload of each row begins in them."""

    data: bytearray
    starts: list[int]


class PacketReader:
    """The rows of one result of a prepared statement, from the packet after the last description on.

    `last` is the payload of the packet after the rows, an end or an error; None before it has come.

    Args:
        source: Gives the bytes.
        number: What the next packet must count, from 0 to 255.
    """

    def __init__(self, source: Source, *, number: int) -> None:
        self.last: bytes | None = None
        self._source = source
        self._number = number
        self._rest = bytearray()

    @property
    def is_broken_off(self) -> bool:
        """Whether the last packet is the server's error."""
        return self.last is not None and self.last[0] == _ERROR

    def blocks(self, *, rows: int, size: int) -> Iterator[Block]:
        """Yield at most `rows` rows and about `size` bytes at once; holds those bytes.

        Raises:
            CutOffError: When the connection ended, or a packet is missing.
        """
        while self.last is None:
            block = self._block(rows, size)
            if block.starts:
                yield block

    def _block(self, rows: int, size: int) -> Block:
        data, self._rest = self._rest, bytearray()
        starts: list[int] = []
        end = self._scan(data, 0, starts, rows)
        while self.last is None and len(starts) < rows and end < size:
            piece = self._source.read1(_READ_BYTES)
            if not piece:
                raise CutOffError("the connection ended in the middle of the rows")
            data += piece
            end = self._scan(data, end, starts, rows)
        self._rest = data[end:]
        return Block(data, starts)

    def _scan(self, data: bytearray, position: int, starts: list[int], rows: int) -> int:
        """Note where the payloads of whole rows begin, `rows` in all; return where the last packet ends."""
        number, size = self._number, len(data)
        while position + HEADER <= size and len(starts) < rows:
            (header,) = _header(data, position)
            length = header & LARGEST_PACKET
            if length == LARGEST_PACKET:
                joined = _joined(data, position, number)
                if joined is None:
                    break
                length, packets = joined
                size, number = len(data), (number + packets - 1) & 0xFF
            elif position + HEADER + length > size:
                break
            elif header >> 24 != number:
                raise _disorder(header >> 24, number)
            begin = position + HEADER
            position = begin + length
            number = (number + 1) & 0xFF
            if data[begin] != _ROW:
                self.last = bytes(data[begin:position])
                break
            starts.append(begin)
        self._number = number
        return position


def _joined(data: bytearray, position: int, number: int) -> tuple[int, int] | None:
    """Put the packets of one row together, in place; return its length and how many they were.

    None when they have not all come.
    """
    cuts: list[int] = []
    place = position
    while True:
        if place + HEADER > len(data):
            return None
        (header,) = _header(data, place)
        expected = (number + len(cuts)) & 0xFF
        if header >> 24 != expected:
            raise _disorder(header >> 24, expected)
        cuts.append(place)
        place += HEADER + (header & LARGEST_PACKET)
        if place > len(data):
            return None
        if header & LARGEST_PACKET != LARGEST_PACKET:
            break
    for cut in reversed(cuts[1:]):
        del data[cut : cut + HEADER]
    return place - position - HEADER * len(cuts), len(cuts)


def _disorder(found: int, expected: int) -> CutOffError:
    return CutOffError(f"packet {found} came where {expected} was expected")

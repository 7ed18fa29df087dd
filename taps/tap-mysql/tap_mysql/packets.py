"""The packets of a result as they come from the server, up to the one that says that it is complete.

A packet has three bytes of length, one that counts packets, and its payload; a row is one packet, or several when
it has 16 MB and more.

https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_packets.html (read 2026-11-21)
"""

from __future__ import annotations

import contextlib
import itertools
import struct
from typing import TYPE_CHECKING, Protocol

import numpy as np

from icetap.sql.row_bytes import PADDING, Block

if TYPE_CHECKING:
    from collections.abc import Iterator

    from icetap.sql.row_bytes import Positions

HEADER = 4
LARGEST_PACKET = 0xFFFFFF
"""A packet of this length goes on in the next one."""

_READ_BYTES = 1 << 20
_ROW, _ERROR = 0x00, 0xFF
_header = struct.Struct("<I").unpack_from
_NOWHERE = np.empty(0, np.int64)


class Source(Protocol):
    """Where the bytes come from: a connection's buffered socket."""

    def readinto(self, buffer: memoryview, /) -> int:
        """Put in what has come, as much as there is room for; return 0 when the other side hung up."""


class CutOffError(Exception):
    """The bytes ended, or were not in order, before the server said that the result is complete."""


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
        self._content = bytearray(PADDING)
        self._place = self._held = 0
        """Where the first packet begins that is no row of a block yet, and how many bytes have come."""

    @property
    def is_broken_off(self) -> bool:
        """Whether the last packet is the server's error."""
        return self.last is not None and self.last[0] == _ERROR

    def blocks(self, *, rows: int, size: int) -> Iterator[Block]:
        """Yield at most `rows` rows and `size` bytes at once, or one row that is longer.

        A block's bytes are those of the next one as soon as that is asked for.

        Raises:
            CutOffError: When the connection ended, or a packet is missing.
        """
        self._content = bytearray(size + PADDING)
        while self.last is None:
            begins, ends = self._rows(rows)
            if len(begins):
                yield Block(np.frombuffer(self._content, np.uint8), begins, ends)
            self._begin_anew(size)

    def _begin_anew(self, size: int) -> None:
        """Move what is no row yet to the beginning; after a long row, in less memory."""
        rest = self._content[self._place : self._held]
        self._place, self._held = 0, len(rest)
        if len(rest) <= size < len(self._content) - PADDING:
            self._content = bytearray(size + PADDING)
        self._content[: len(rest)] = rest

    def _rows(self, most: int) -> tuple[Positions, Positions]:
        """Return where rows begin and end: so many, or as many as there is room for, at least one."""
        while True:
            heads, nexts = self._packets(most)
            plain = self._plain(heads, nexts)
            if plain:
                self._place = int(nexts[plain - 1])
                self._number = (self._number + plain) & 0xFF
                return heads[:plain] + HEADER, nexts[:plain]
            begins, ends = self._odd(self._place, int(nexts[0]))
            if self.last is not None or len(begins):
                return begins, ends
            self._receive(must=True)

    def _packets(self, most: int) -> tuple[Positions, Positions]:
        """Return where the next whole packets begin and end, at least one, found by their lengths alone."""
        places = [self._place]
        while True:
            self._walk(places, most)
            # Nothing comes behind the last packet, which is no row.
            if len(places) > most or (len(places) > 1 and self._content[places[-2] + HEADER] != _ROW):
                break
            if not self._receive(must=len(places) == 1):
                break
        whole = np.array(places)
        return whole[:-1], whole[1:]

    def _walk(self, places: list[int], most: int) -> None:
        """Append where the packets end that have come, until there are so many."""
        view = memoryview(self._content)[: self._held]
        place = places[-1]
        found = places.append
        with contextlib.suppress(struct.error):  # where no header stands yet
            for _ in itertools.repeat(None, most + 1 - len(places)):
                place += (_header(view, place)[0] & LARGEST_PACKET) + HEADER
                found(place)
        if place > self._held:
            places.pop()

    def _plain(self, heads: Positions, nexts: Positions) -> int:
        """Return how many packets are whole rows, and in order, before the first that is not."""
        octets = np.frombuffer(self._content, np.uint8)
        expected = np.arange(self._number, self._number + len(heads)) & 0xFF
        is_odd = (nexts - heads == HEADER + LARGEST_PACKET) | (octets[heads + HEADER] != _ROW)
        is_odd |= octets[heads + (HEADER - 1)] != expected
        return int(is_odd.argmax()) if is_odd.any() else len(heads)

    def _receive(self, *, must: bool) -> bool:
        """Wait for more bytes; say whether there was room for them, which is made if they `must` come."""
        if self._held == len(self._content) - PADDING:
            if not must:
                return False
            self._content = self._content[: self._held] + bytes(self._held + PADDING)
        room = min(len(self._content) - PADDING, self._held + _READ_BYTES)
        received = self._source.readinto(memoryview(self._content)[self._held : room])
        if not received:
            raise CutOffError("the connection ended in the middle of the rows")
        self._held += received
        return True

    def _odd(self, place: int, after: int) -> tuple[Positions, Positions]:
        """Take a packet that is no whole row: the last one, or the first of a row in several."""
        number = self._content[place + HEADER - 1]
        if number != self._number:
            raise _disorder(number, self._number)
        if after - place < HEADER + LARGEST_PACKET:
            self.last = bytes(self._content[place + HEADER : after])
            self._place = after
            return _NOWHERE, _NOWHERE
        end = self._joined()
        if end is None:
            return _NOWHERE, _NOWHERE
        self._place = end
        return np.array([place + HEADER]), np.array([end])

    def _joined(self) -> int | None:
        """Put the packets of one row together, in place; return where it ends, None when they have not all come."""
        cuts: list[int] = []
        place = self._place
        while True:
            if place + HEADER > self._held:
                return None
            header: int = _header(self._content, place)[0]
            expected = (self._number + len(cuts)) & 0xFF
            if header >> 24 != expected:
                raise _disorder(header >> 24, expected)
            cuts.append(place)
            place += HEADER + (header & LARGEST_PACKET)
            if place > self._held:
                return None
            if header & LARGEST_PACKET != LARGEST_PACKET:
                break
        view = memoryview(self._content)
        for cut in reversed(cuts[1:]):
            view[cut : self._held - HEADER] = view[cut + HEADER : self._held]
            self._held -= HEADER
        self._number = (self._number + len(cuts)) & 0xFF
        return place - HEADER * (len(cuts) - 1)


def _disorder(found: int, expected: int) -> CutOffError:
    return CutOffError(f"packet {found} came where {expected} was expected")

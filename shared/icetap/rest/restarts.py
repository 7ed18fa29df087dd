"""The read of one part of a stream, begun anew when the API says that a cursor has expired."""

from __future__ import annotations

from typing import TYPE_CHECKING

from icetap.rest.client import RestartPagingSignal
from icetap.rest.failures import PassingFaultError
from icetap.rest.jobs import JobReader
from icetap.rest.reading import PageReader

if TYPE_CHECKING:
    from collections.abc import Iterator

    from icetap.rest.parts import Part, RecordPage
    from icetap.rest.stream import RestStream

MAX_RESTARTS = 3


def pages(stream: RestStream, part: Part) -> Iterator[RecordPage]:
    """Yield the pages of a part; after a restart, records come again.

    Raises:
        PassingFaultError: When the cursor expires again and again, or the stream has no key to recognise records by.
    """
    for _ in range(MAX_RESTARTS):
        reader = PageReader(stream, part) if stream.job is None else JobReader(stream, part, stream.job)
        try:
            yield from reader.pages()
        except RestartPagingSignal as signal:
            if not stream.primary_keys:
                raise PassingFaultError(f"{signal}; without a key the pages cannot be read anew") from None
            stream.logger.warning("Stream %s: reading its pages anew: %s", stream.name, signal)
        else:
            return
    raise PassingFaultError(
        f"the cursor has expired {MAX_RESTARTS} times before the pages' end. Read shorter windows, or larger pages."
    )

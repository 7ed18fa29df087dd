"""Five ways through pages, each a declaration; the walk through them is made anew for each partition.

A page that is short never ends a read by itself: the API's own signal does, or an empty page. Pages that repeat
themselves raise, as does an answer that says "there is more" to a stream that cannot ask for it.
"""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

import msgspec
import requests
from typing_extensions import override

from icetap.rest.failures import EndlessReadError, TruncatedReadError
from icetap.rest.jsonpath import JSONPath
from icetap.rest.templates import as_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from icetap.rest.answers import Answer
    from icetap.rest.request import Place, Request

REMEMBERED_TOKENS = 50
EMPTY_PAGES = 1_000
"""So many empty pages in a row, each with a new token, are a loop that never repeats itself."""

_ENCODE = msgspec.json.Encoder(decimal_format="number", order="deterministic").encode


@dataclass(frozen=True, slots=True)
class Size:
    """How many records a page should have, and where the request says so."""

    place: Place
    value: Any
    """A number, or a template."""


@dataclass(frozen=True, slots=True)
class Next:
    """Where an answer says how to go on: a JSONPath of the body, a header, or a field of the last record."""

    path: str | None = None
    header: str | None = None
    last_record: str | None = None

    def value(self, answer: Answer, records: Sequence[Any]) -> Any:
        """Return the token, None when there is none. 0 and "0" are tokens; an empty text and false are none."""
        if self.header is not None:
            found: Any = answer.headers.get(self.header)
        elif self.last_record is not None:
            last = records[-1] if records else None
            path = self.last_record if self.last_record.startswith("$") else f"$['{self.last_record}']"
            found = JSONPath(path).first(last)
        else:
            found = JSONPath(self.path or "$.next").first(answer.document)
        return None if found is None or found == "" or found is False else found


@dataclass(frozen=True, kw_only=True)
class Paging:
    """What all ways have in common: how the API says that there is more, and when to stop."""

    has_more: str | None = None
    total: str | None = None
    total_pages: str | None = None
    stop_on_short_page: bool = False
    """Whether a page with fewer records than asked for is the last; an API has to promise that."""

    max_pages: int | None = None
    """More pages than this are an error, never a silent end."""

    size: Size | None = None

    def walk(self) -> Walk:
        """Return a walk from the first page on."""
        return OnePage(self)


@dataclass(frozen=True, kw_only=True)
class NoPaging(Paging):
    """All records come in one answer, and whether it says otherwise is not looked at."""


@dataclass(frozen=True, kw_only=True)
class PagePaging(Paging):
    """Pages by number; the first one is asked for by its number too."""

    page: Place
    start: int = 1

    @override
    def walk(self) -> Walk:
        return NumberWalk(self, place=self.page, start=self.start)


@dataclass(frozen=True, kw_only=True)
class OffsetPaging(Paging):
    """From the so-manieth record on; it grows by the records received, since servers may send fewer than asked for."""

    offset: Place
    start: int = 0
    next: Next | None = None
    """Where the answer says the next offset; a missing one is the end."""

    step: str = "records"
    """`records` or `limit`: what the offset grows by."""

    @override
    def walk(self) -> Walk:
        if self.next is not None:
            return TokenWalk(self, place=self.offset, source=self.next, first=self.start)
        return OffsetWalk(self, place=self.offset, start=self.start, by_limit=self.step == "limit")


@dataclass(frozen=True, kw_only=True)
class CursorPaging(Paging):
    """From a token on that the last answer, or its last record, holds."""

    token: Place
    next: Next

    @override
    def walk(self) -> Walk:
        return TokenWalk(self, place=self.token, source=self.next)


@dataclass(frozen=True, kw_only=True)
class LinkPaging(Paging):
    """By whole URLs: of the header `Link` with rel="next" (RFC 8288), or of the body. They are asked for as they are."""

    next: Next | None = None

    @override
    def walk(self) -> Walk:
        return LinkWalk(self)


@dataclass
class Walk(ABC):
    """One way through the pages of one partition: puts itself into requests, and says whether to go on."""

    paging: Paging
    size: int | None = None
    """Records asked for in a page: the rendered value of `paging.size`."""

    pages: int = 0
    records: int = 0
    _tokens: deque[str] = field(default_factory=lambda: deque(maxlen=REMEMBERED_TOKENS))
    _last_page: bytes = b""
    _empty: int = 0

    def prepare(self, request: Request) -> None:
        """Put this page's position into a request."""
        if self.paging.size is not None and self.size is not None:
            request.put(self.paging.size.place, self.size)

    def advance(self, answer: Answer, records: Sequence[Any]) -> bool:
        """Take note of a page; return whether there is another one to ask for.

        Raises:
            EndlessReadError: When pages repeat themselves, or are more than `max_pages`.
        """
        self.pages += 1
        self.records += len(records)
        goes_on = self._goes_on(answer, records)
        if not goes_on:
            return False
        self._empty = 0 if records else self._empty + 1
        if self._empty > EMPTY_PAGES:
            raise EndlessReadError(
                f"{EMPTY_PAGES} empty pages in a row, each of which says that there is more"
            )
        limit = self.paging.max_pages
        if limit is not None and self.pages >= limit:
            raise EndlessReadError(
                f"there are more than {limit} pages, which `max_pages` allows. Raise it, or read a shorter window."
            )
        self._refuse_repetition(records)
        return True

    @abstractmethod
    def _goes_on(self, answer: Answer, records: Sequence[Any]) -> bool:
        """Whether there is another page; the walk's position is that page's afterwards."""

    def _says_the_end(self, answer: Answer, records: Sequence[Any]) -> bool:
        """Whether the API itself says that this page is the last; an empty page says nothing by itself."""
        paging = self.paging
        if paging.has_more and not _truth(JSONPath(paging.has_more).first(answer.document)):
            return True
        if paging.total_pages and self.pages >= _number(JSONPath(paging.total_pages).first(answer.document)):
            return True
        if paging.total and self.records >= _number(JSONPath(paging.total).first(answer.document)):
            return True
        return paging.stop_on_short_page and self.size is not None and len(records) < self.size

    def _refuse_repetition(self, records: Sequence[Any]) -> None:
        page = hashlib.sha256(_ENCODE(records)).digest() if records else b""
        if page and page == self._last_page:
            raise EndlessReadError(
                f"page {self.pages} has the same records as the page before: the API does not look at the position. "
                "Check the names in `pagination`."
            )
        self._last_page = page

    def remember(self, token: Any) -> None:
        """Refuse a token that has been there before."""
        text = as_text(token)
        if text in self._tokens:
            raise EndlessReadError(
                f"page {self.pages} leads back to a page that was read already: its next token repeats. "
                "Check `pagination.next`."
            )
        self._tokens.append(text)


class OnePage(Walk):
    """The first page is the only one."""

    @override
    def _goes_on(self, answer: Answer, records: Sequence[Any]) -> bool:
        return False


class NumberWalk(Walk):
    """By the pages' numbers."""

    def __init__(self, paging: Paging, *, place: Place, start: int) -> None:
        super().__init__(paging)
        self._place = place
        self.position = start

    @override
    def prepare(self, request: Request) -> None:
        self.prepare_at(request, self.position)

    def prepare_at(self, request: Request, position: int) -> None:
        """Put any page's position into a request."""
        super().prepare(request)
        request.put(self._place, position)

    @override
    def _goes_on(self, answer: Answer, records: Sequence[Any]) -> bool:
        if self._says_the_end(answer, records) or (not records and not self._says_more(answer)):
            return False
        self._step(len(records))
        return True

    def ahead(self, answer: Answer) -> list[int]:
        """Return the positions of the pages that are known to follow: where the API tells a total."""
        if self.paging.total_pages:
            pages = _number(JSONPath(self.paging.total_pages).first(answer.document)) - self.pages
        elif self.paging.total and self.size:
            total = _number(JSONPath(self.paging.total).first(answer.document))
            pages = math.ceil((total - self.pages * self.size) / self.size) if total != float("inf") else 0
        else:
            return []
        if pages == float("inf"):
            return []
        return [self.position + number * self._stride for number in range(int(pages))]

    @property
    def _stride(self) -> int:
        return 1

    def _says_more(self, answer: Answer) -> bool:
        """Whether the API says that an empty page is one in the middle."""
        if self.paging.has_more or self.paging.total_pages:
            return True
        total = _number(JSONPath(self.paging.total).first(answer.document)) if self.paging.total else 0.0
        return self.size is not None and total != float("inf") and self._passed() < total

    def _passed(self) -> int:
        """How many records the pages so far could have held."""
        return self.pages * (self.size or 0)

    def _step(self, records: int) -> None:  # noqa: ARG002 -- offsets need it
        self.position += 1


class OffsetWalk(NumberWalk):
    """By the number of records before the page."""

    def __init__(self, paging: Paging, *, place: Place, start: int, by_limit: bool) -> None:
        super().__init__(paging, place=place, start=start)
        self._start, self._by_limit = start, by_limit

    @property
    @override
    def _stride(self) -> int:
        return self.size or 1

    @override
    def ahead(self, answer: Answer) -> list[int]:
        # A server that sends fewer records than asked for has its next page somewhere else.
        return super().ahead(answer) if self.position - self._start == self.pages * (self.size or 0) else []

    @override
    def _passed(self) -> int:
        return self.position - self._start + (self.size or 0)

    @override
    def _step(self, records: int) -> None:
        step = (self.size if self._by_limit or not records else records) or 0
        if step == 0:
            raise EndlessReadError(
                f"page {self.pages} is empty although the API says that there is more, and the offset cannot go on from "
                "it. Name where the answer has the next offset, or the page's size."
            )
        self.position += step


class TokenWalk(Walk):
    """By tokens that answers hold."""

    def __init__(self, paging: Paging, *, place: Place, source: Next, first: Any = None) -> None:
        super().__init__(paging)
        self._place, self._source = place, source
        self._token = first

    @override
    def prepare(self, request: Request) -> None:
        super().prepare(request)
        if self._token is not None:
            request.put(self._place, self._token)

    @override
    def _goes_on(self, answer: Answer, records: Sequence[Any]) -> bool:
        if self._says_the_end(answer, records):
            return False
        token = self._source.value(answer, records)
        if token is None:
            if self.paging.has_more:
                raise TruncatedReadError(
                    f"page {self.pages} says that there is more, but holds nothing to go on from: "
                    f"no value at {self._source}"
                )
            return False
        self.remember(token)
        self._token = token
        return True


class LinkWalk(Walk):
    """By whole URLs."""

    paging: LinkPaging
    _url: str | None = None

    @override
    def prepare(self, request: Request) -> None:
        if self._url is None:
            super().prepare(request)
            return
        # The link is whole: whatever is added to it may contradict it.
        request.path = self._url
        request.params = {}

    @override
    def _goes_on(self, answer: Answer, records: Sequence[Any]) -> bool:
        if self._says_the_end(answer, records):
            return False
        source = self.paging.next
        link = next_link(answer) if source is None else source.value(answer, records)
        if link is None:
            return False
        url = urljoin(answer.url, str(link))
        self.remember(url)
        self._url = url
        return True


def next_link(answer: Answer) -> str | None:
    """Return the URL of the header `Link` with rel="next" (RFC 8288)."""
    for link in requests.utils.parse_header_links(answer.headers.get("Link", "")):
        if "next" in link.get("rel", "").split():
            return str(link["url"])
    return None


def _truth(value: Any) -> bool:
    return (
        value not in {None, False, "", "false", "False", "0"}
        if not isinstance(value, list | dict)
        else bool(value)
    )


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("inf")


# --- what an answer gives away about paging ----------------------------------------------------------

_NEXT_NAMES = (
    "next",
    "next_page",
    "next_cursor",
    "next_page_token",
    "nextPageToken",
    "next_url",
    "next_offset",
    "@odata.nextLink",
    "nextLink",
)
_ENVELOPES = ("", "meta", "pagination", "paging", "links", "_links", "response_metadata", "page_info")
_MORE_NAMES = ("has_more", "hasMore", "has_next", "hasNextPage", "more")
_TOTAL_NAMES = ("total", "total_count", "totalCount", "count_total", "totalResults")


def refuse_truncation(answer: Answer, records: Sequence[Any]) -> None:
    """Refuse an answer that says "there is more" to a stream that declares no paging.

    Raises:
        TruncatedReadError: With what the answer says, and what to declare.
    """
    if next_link(answer):
        raise TruncatedReadError(_truncated('a header Link with rel="next"', "{type: link}"))
    if not isinstance(answer.document, dict):
        return
    for envelope in _ENVELOPES:
        inner = answer.document.get(envelope) if envelope else answer.document
        if not isinstance(inner, dict):
            continue
        prefix = f"$.{envelope}" if envelope else "$"
        for name in _NEXT_NAMES:
            value = inner.get(name)
            if value and isinstance(value, str | int):
                path = f"{prefix}['{name}']" if not name.isidentifier() else f"{prefix}.{name}"
                is_link = isinstance(value, str) and ("://" in value or value.startswith("/"))
                how = (
                    f"{{type: link, next: {path}}}"
                    if is_link
                    else f"{{type: cursor, next: {path}, token: …}}"
                )
                raise TruncatedReadError(_truncated(f"a value at '{path}'", how))
        for name in _MORE_NAMES:
            if inner.get(name) is True:
                raise TruncatedReadError(
                    _truncated(f"'{name}: true'", f"a `pagination` with `has_more: {prefix}.{name}`")
                )
        for name in _TOTAL_NAMES:
            total = inner.get(name)
            if isinstance(total, int) and not isinstance(total, bool) and total > len(records) > 0:
                raise TruncatedReadError(
                    _truncated(
                        f"'{name}: {total}' and {len(records)} records",
                        f"a `pagination` with `total: {prefix}.{name}`",
                    )
                )


def _truncated(found: str, advice: str) -> str:
    return (
        f"the answer says that there is more ({found}), but the stream declares no way to ask for it. "
        f"Declare {advice}, or `pagination: {{type: none}}` if one answer is really all."
    )

"""What all of Stripe's objects have in common: columns, pages, versions, accounts, and lists that the API cuts short."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from importlib import resources
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeVar, cast
from urllib.parse import parse_qsl, urlsplit

from typing_extensions import override

from icetap.rest import (
    CursorPaging,
    JSONPath,
    Next,
    PassingFaultError,
    Request,
    RestStream,
    Size,
    load_properties,
    query,
)
from icetap.rest.client import RestartPagingSignal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from singer_sdk.helpers.types import Context, Record

    from icetap.rest import Answer, Part, RecordPage
    from tap_stripe.tap import TapStripe

T = TypeVar("T")

ACCOUNT_ID = "account_id"
LISTS = "_lists"
"""Under this name, children find the lists that their parent's record holds."""

MAX_RESTARTS = 3
PAGE_RECORDS = 100
PAGING = CursorPaging(
    token=query("starting_after"),
    next=Next(last_record="id"),
    has_more="$.has_more",
    size=Size(query("limit"), PAGE_RECORDS),
)


class Filled(NamedTuple):
    """A column that the tap fills because API versions have it in other places."""

    path: str
    is_time: bool = False

    @property
    def schema(self) -> dict[str, Any]:
        """The column's JSON Schema."""
        plain: dict[str, Any] = {"type": ["string", "null"]}
        return {**plain, "format": "date-time"} if self.is_time else plain


class StripeObjects(RestStream):
    """A stream of one kind of object. A subclass declares; see `tap_stripe.streams`."""

    object_name: ClassVar[str] = ""
    """What Stripe calls the object, in its field `object`; the columns are those of `schemas/<object_name>.json`, or, of an
    object that has none, those found in a page."""

    nested: ClassVar[Sequence[str]] = ()
    """Lists inside of a record: the API cuts them after ten, the tap reads them to their end."""

    expand: ClassVar[Sequence[str]] = ()
    """Fields that come only when they are asked for."""

    filled: ClassVar[Mapping[str, Filled]] = {}
    primary_keys: Sequence[str] = ("id",)
    records_jsonpath = "$.data"
    paging = PAGING

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.filled_from = {name: filled.path for name, filled in cls.filled.items()}
        if not cls.object_name:
            return
        own = {name: filled.schema for name, filled in cls.filled.items()} | cls.columns_of_the_tap()
        file = resources.files("tap_stripe") / "schemas" / f"{cls.object_name}.json"
        if own or file.is_file():
            cls.properties = {**load_properties("tap_stripe", cls.object_name), **own}

    def __init__(self, tap: TapStripe, name: str | None = None) -> None:
        self.stripe = tap
        if tap.is_platform:
            # Products, plans and coupons may have the same id in two accounts.
            self.primary_keys = (ACCOUNT_ID, *(self.primary_keys or ()))
            self.properties = {ACCOUNT_ID: {"type": "string"}, **(self.properties or {})}  # type: ignore[misc] # by setting
        self._times = _times(self.properties or {})
        self._fillings = [(name, JSONPath(filled.path)) for name, filled in self.filled.items()]
        super().__init__(tap, name)

    @classmethod
    def columns_of_the_tap(cls) -> dict[str, Any]:
        """Return the columns that are not Stripe's."""
        return {}

    # --- asking -------------------------------------------------------------------------------------

    @override
    def partitions_of(self, parent: Mapping[str, Any]) -> list[dict[str, Any]]:
        if self.stripe.is_platform and self.parent is None:
            return [{ACCOUNT_ID: account} for account in self.stripe.accounts]
        return [{}]

    @override
    def request_for(self, part: Part) -> Request:
        request = super().request_for(part)
        if expanded := self.expanded:
            request.params["expand[]"] = [f"data.{field}" for field in expanded]
        return self.addressed(request, part)

    @property
    def expanded(self) -> list[str]:
        """The fields that hold objects instead of their ids."""
        return [*self.expand, *(self.config.get("expand") or {}).get(self.declared_name, [])]

    def addressed(self, request: Request, part: Part) -> Request:
        """Return a request with the API version and the account that it is for."""
        request.headers["Stripe-Version"] = self.config["api_version"]
        request.headers |= self.stripe.account_header(part.names.get(ACCOUNT_ID))
        return request

    def listed(self, path: str, params: Mapping[str, Any], part: Part) -> Iterator[list[Any]]:
        """Yield the pages of any list."""
        walk = PAGING.walk()
        walk.size = PAGE_RECORDS
        goes_on = True
        while goes_on:
            request = self.addressed(Request(path, params=dict(params)), part)
            walk.prepare(request)
            answer = self.ask(request)
            records = cast("list[Any]", answer.document["data"])
            yield records
            goes_on = walk.advance(answer, records)

    def anew(self, read: Callable[[], T]) -> T:
        """Return what `read` does, which begins anew when a list changes so that its cursor is no longer good.

        Raises:
            PassingFaultError: When that happens again and again.
        """
        for _ in range(MAX_RESTARTS):
            with suppress(RestartPagingSignal):
                return read()
        raise PassingFaultError(f"{self.label}: a list changed {MAX_RESTARTS} times while it was read")

    def _whole(self, path: str, params: Mapping[str, Any], part: Part) -> list[Any]:
        return [each for page in self.listed(path, params, part) for each in page]

    # --- records ------------------------------------------------------------------------------------

    @override
    def values_in(self, answer: Answer) -> list[Any]:
        document = answer.document
        # An object that was asked for by its id comes without the list around it.
        is_one = isinstance(document, dict) and document.get("object") == self.object_name
        return [document] if is_one else super().values_in(answer)

    @override
    def records_in(self, answer: Answer, part: Part) -> RecordPage:
        for value in self.values_in(answer):
            self.complete(value, part)
        return super().records_in(answer, part)

    def complete(self, value: dict[str, Any], part: Part) -> None:
        """Put into an object what belongs to it: its lists to their ends, moved fields, its account."""
        # A test of the settings, or a preview, is content with what an object holds, and asks once.
        for name in self.nested if self.started_at else ():
            found = value.get(name)
            if isinstance(found, dict) and found.get("has_more") and found.get("url"):
                address = urlsplit(found["url"])
                params = dict(parse_qsl(address.query))
                whole = self.anew(partial(self._whole, address.path, params, part))
                value[name] = {**found, "data": whole, "has_more": False}
        for name, path in self._fillings:
            if value.get(name) is None and (inner := path.first(value)) is not None:
                value[name] = inner
        if account := part.names.get(ACCOUNT_ID):
            value[ACCOUNT_ID] = account

    @override
    def contexts_of(self, record: Mapping[str, Any]) -> Mapping[str, Any] | None:
        context = {
            **(super().contexts_of(record) or {}),
            LISTS: {name: record.get(name) for name in self.nested},
        }
        return {**context, ACCOUNT_ID: record[ACCOUNT_ID]} if ACCOUNT_ID in record else context

    @override
    def post_process(self, row: Record, context: Context | None = None) -> Record | None:
        return with_times(row, self._times)


Times = dict[str, Any]
"""Which fields are times: None for a time, the inner fields for an object or the objects of an array."""


def _times(properties: Mapping[str, Any]) -> Times:
    found: Times = {}
    for name, schema in properties.items():
        inner = schema.get("properties") or (schema.get("items") or {}).get("properties")
        if schema.get("format") == "date-time":
            found[name] = None
        elif inner and (times := _times(inner)):
            found[name] = times
    return found


def with_times(record: Mapping[str, Any], times: Times) -> dict[str, Any]:
    """Return a record whose seconds since 1970 are date-times."""
    changed = dict(record)
    for name, inner in times.items():
        value = changed.get(name)
        if inner is None:
            if type(value) is int:
                changed[name] = datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        elif type(value) is dict:
            changed[name] = with_times(value, inner)
        elif type(value) is list:
            changed[name] = [with_times(each, inner) if type(each) is dict else each for each in value]
    return changed

"""How Shopify's objects are read: by pages of the GraphQL Admin API, or by a bulk operation; see `streams` for which."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from typing_extensions import override

from icetap.errors import DataError
from icetap.rest import (
    CursorPaging,
    ErrorRule,
    Incremental,
    Next,
    NoAccessError,
    NoPaging,
    RecordPage,
    Request,
    RestStream,
    Window,
    body,
)
from icetap.rest.dates import instant, write
from tap_shopify import bulk, objects
from tap_shopify.answers import has_code, is_denied, named_rights

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from icetap.rest import Answer, Part
    from tap_shopify.tap import TapShopify

LOOKBACK_SECONDS = 300
"""The index behind Shopify's search is seconds to minutes late."""

WINDOW = timedelta(days=30)
BULK_FROM = timedelta(days=1)
"""With `bulk_operations: auto`, a stream that was last read longer ago than this is read by a bulk operation."""

DELETED_AT = "_sdc_deleted_at"
DELETED_SINCE = "deleted_since"
"""In the bookmark of a first run that has not come to an end: when it began."""

_INNER_PAGE = 250


class ShopifyStream(RestStream):
    """One stream of the GraphQL Admin API. A subclass says what `streams` shows; the query is made from that.

    Order: none that holds, since a bulk operation knows none. Bookmarks move at the end of a window of 30 days. Ties and
    rows at a window's border may come twice, and never not at all.
    """

    root: ClassVar[str] = ""
    """The query's field, such as `orders`."""

    object_name: ClassVar[str] = ""
    """The type in `objects.graphql`."""

    each: ClassVar[str | None] = None
    """The field whose objects are the records, where they are not the root's own."""

    owner: ClassVar[str] = ""
    """With `each`: what the columns of the object around are called, such as `order` for `order_id`."""

    scope_name: ClassVar[str] = ""
    """The right that the token needs."""

    cursor: ClassVar[str | None] = "updatedAt"
    """The time that is filtered by; None where Shopify cannot."""

    search: ClassVar[str] = ""
    """More conditions, in Shopify's search syntax."""

    arguments: ClassVar[str] = ""
    """More arguments of the root's field, such as its order; not part of a bulk operation."""

    deleted_subject: ClassVar[str | None] = None
    """What events call the object when one is deleted."""

    is_single: ClassVar[bool] = False
    """Whether the root's field is one object instead of a connection."""

    primary_keys: ClassVar[Sequence[str]] = ("id",)

    @classmethod
    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Complete the declaration."""
        super().__init_subclass__(**kwargs)
        if not cls.root:
            return
        where = f"$.data.{cls.root}"
        cls.records_jsonpath = where if cls.is_single else f"{where}.nodes[*]"
        cls.properties = cls._columns()
        page = f"{where}.pageInfo"
        cls.paging = (
            NoPaging()
            if cls.is_single
            else CursorPaging(
                token=body("variables.after"),
                next=Next(f"{page}.endCursor"),
                has_more=f"{page}.hasNextPage",
            )
        )
        if cls.cursor is not None:
            cls.incremental = Incremental(
                replication_key=cls._time_column(), lookback_seconds=LOOKBACK_SECONDS, window=WINDOW
            )
        cls.errors = (ErrorRule(is_denied, "no_access", cls.missing_right),)

    @classmethod
    def missing_right(cls, answer: Answer | None = None) -> str:
        """Return which right the app lacks: those that Shopify names, of a field too; else the stream's own."""
        named = named_rights(answer) if answer else []
        rights = " and ".join(f"'{right}'" for right in named or [cls.scope_name])
        return f"The app needs the right {rights}{_PROTECTED}"

    @classmethod
    def _time_column(cls) -> str:
        time = "created_at" if cls.cursor == "createdAt" else "updated_at"
        return f"{cls.owner}_{time}" if cls.each else time

    @classmethod
    def _record_type(cls) -> str:
        fields = {field.name: field for field in objects.types()[cls.object_name]}
        return fields[cls.each].type_name if cls.each else cls.object_name

    @classmethod
    def _columns(cls) -> dict[str, Any]:
        found = objects.columns(cls._record_type())
        if cls.each:
            found[f"{cls.owner}_id"] = {"type": ["integer", "null"]}
            found[f"{cls.owner}_updated_at"] = {"type": ["string", "null"], "format": "date-time"}
        if cls.deleted_subject:
            found[DELETED_AT] = {"type": ["string", "null"], "format": "date-time"}
        return found | {key: {"type": "integer"} for key in cls.primary_keys}

    def __init__(self, tap: TapShopify, name: str | None = None) -> None:
        self.shop = tap
        self.page_size = int(tap.config["page_size"])
        super().__init__(tap, name)

    # --- asking -------------------------------------------------------------------------------------

    @override
    def request_for(self, part: Part) -> Request:
        return self.shop.graphql(
            self.query_text(), query=self.condition(part.window) or None, after=None, first=self.page_size
        )

    def query_text(self) -> str:
        """Return the query for one page."""
        selected = objects.selection(self.object_name)
        if self.is_single:
            return f"query {{ {self.root} {{ {selected} }} }}"
        given = f"first: $first, after: $after, query: $query{self.arguments}"
        page = "pageInfo { hasNextPage endCursor }"
        head = "query ($first: Int!, $after: String, $query: String)"
        return f"{head} {{ {self.root}({given}) {{ nodes {{ {selected} }} {page} }} }}"

    def condition(self, window: Window) -> str:
        """Return what a window means in Shopify's search syntax; times are quoted, since they have colons in them."""
        name = "created_at" if self.cursor == "createdAt" else "updated_at"
        found = [self.search] if self.search else []
        for sign, bound in ((">=", window.start), ("<", window.end)):
            if isinstance(bound, datetime):
                found.append(f"{name}:{sign}'{write(bound, 'iso8601')}'")
        return " AND ".join(found)

    @override
    def ask(self, request: Request) -> Answer:
        """Ask; of a query that Shopify finds too expensive, for smaller pages."""
        while True:
            if request.json["variables"].get("first"):
                request = request.copy()
                request.json["variables"] = {**request.json["variables"], "first": self.page_size}
            answer = super().ask(request)
            self.shop.note(answer)
            if not has_code(answer, "MAX_COST_EXCEEDED"):
                return answer
            if self.page_size == 1:
                raise DataError(
                    f"{self.label}: Shopify finds the query too expensive even for one object. "
                    "Choose fewer fields in tap_shopify/objects.graphql."
                )
            self.page_size = max(1, self.page_size // 2)
            self.logger.info("Stream %s: pages of %d from now on", self.name, self.page_size)

    # --- records ------------------------------------------------------------------------------------

    @override
    def records_in(self, answer: Answer, part: Part) -> RecordPage:
        records = []
        for node in self.values_in(answer):
            if node is not None:
                self._complete(node)
                records += self.records_of_node(node)
        return RecordPage(records)

    def records_of_node(self, node: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the records of one object of the root."""
        emitted = objects.record(self.object_name, node)
        if self.each is None:
            return [emitted]
        column = next(field.column for field in objects.types()[self.object_name] if field.name == self.each)
        around = {f"{self.owner}_{name}": emitted[name] for name in ("id", "updated_at")}
        return [{**each, **around} for each in emitted[column] or ()]

    def _complete(self, node: Mapping[str, Any]) -> None:
        """Read the inner connections of a node to their ends."""
        while found := next(objects.unfinished(self.object_name, node), None):
            holder, field = found
            page = holder[field.name]["pageInfo"]
            if page["endCursor"] is None:
                raise DataError(
                    f"{self.label}: '{field.name}' says that there is more, but not where. Run again later."
                )
            inner = f"nodes {{ {objects.selection(field.type_name)} }} pageInfo {{ hasNextPage endCursor }}"
            text = (
                "query ($id: ID!, $after: String) { node(id: $id) { ... on "
                f"{objects.kind_of(holder['id'])} {{ {field.name}(first: {_INNER_PAGE}, after: $after) {{ {inner} }} }} }} }}"
            )
            answer = self.ask(self.shop.graphql(text, id=holder["id"], after=page["endCursor"]))
            more = (answer.document["data"]["node"] or {}).get(field.name)
            if more is None:  # deleted in the meantime
                more = {"nodes": [], "pageInfo": {"hasNextPage": False, "endCursor": None}}
            holder[field.name]["nodes"].extend(more["nodes"])
            holder[field.name]["pageInfo"] = more["pageInfo"]

    # --- reading ------------------------------------------------------------------------------------

    @override
    def read(self, contexts: Iterable[Mapping[str, Any]]) -> Iterator[RecordPage]:
        deletions = self._deletions()
        if deletions:
            yield RecordPage(list(deletions.values()))
        pages = self._in_bulk() if self._uses_bulk() else super().read(contexts)
        for page in pages:
            if self.deleted_subject and self.progress and not self.bookmark():
                # Should the run be cut off before its first bookmark, the next one learns what was deleted meanwhile.
                yield RecordPage([], {DELETED_SINCE: self.progress.sync_time})
            # What the search still finds must not come back after its deletion.
            kept = (
                [each for each in page.records if each.get("id") not in deletions]
                if deletions
                else page.records
            )
            yield replace(page, records=kept)
        if self.progress:
            # Everything up to the start of the run has been asked for: a quiet stream need not be asked for it again.
            self.progress.see(self.progress.now)
            yield RecordPage([], self.progress.bookmark())

    def _uses_bulk(self) -> bool:
        chosen = self.config["bulk_operations"]
        if chosen == "never" or self.is_single or not objects.fits_bulk(self.object_name):
            return False
        if self.arguments and not self.incremental:
            return False
        start = self.progress.start if self.progress else None
        return chosen == "always" or not isinstance(start, datetime) or datetime.now(UTC) - start > BULK_FROM

    def _in_bulk(self) -> Iterator[RecordPage]:
        """Read each window by a bulk operation; one that Shopify gives up is read in halves."""
        windows = list(self.progress.windows()) if self.progress else [Window()]
        while windows:
            window = windows.pop(0)
            try:
                file = bulk.result(self, self.condition(window))
            except bulk.GivenUpError as error:
                windows[:0] = self._halves(window, error)
                continue
            for nodes in bulk.batches(self.object_name, file):
                records = [record for node in nodes for record in self.records_of_node(node)]
                if self.progress:
                    self.progress.after(records, is_alone=False)
                yield RecordPage(records)
            if self.progress:
                self.progress.complete(window)
                yield RecordPage([], self.progress.bookmark())

    def _halves(self, window: Window, error: bulk.GivenUpError) -> list[Window]:
        start = window.start if isinstance(window.start, datetime) else bulk.FIRST_DAY
        end = window.end if isinstance(window.end, datetime) else datetime.now(UTC)
        if self.incremental is None or end - start <= bulk.SHORTEST_WINDOW:
            raise error
        middle = start + (end - start) / 2
        self.logger.warning("Stream %s: %s; reading shorter windows", self.name, error)
        # Nothing is older than the first half, so it needs no lower bound that it did not have.
        return [Window(window.start, middle, is_last=False), Window(middle, window.end, window.is_last)]

    def _deletions_from(self) -> datetime | None:
        """Return from when on deletions are not known; None when nothing can have been loaded yet."""
        bookmark = self.bookmark()
        if self.progress is None or not bookmark:
            return None
        if begun := bookmark.get(DELETED_SINCE):
            return instant(begun) - timedelta(seconds=LOOKBACK_SECONDS)
        return self.progress.start if isinstance(self.progress.start, datetime) else None

    def _deletions(self) -> dict[int, dict[str, Any]]:
        """Return what was deleted since the last run, as rows that say so, by their ids."""
        start = self._deletions_from()
        if self.deleted_subject is None or start is None:
            return {}
        query = f"action:destroy AND subject_type:{self.deleted_subject} AND created_at:>='{write(start, 'iso8601')}'"
        text = (
            "query ($first: Int!, $after: String, $query: String) { events(first: $first, after: $after, query: $query, "
            f"sortKey: CREATED_AT) {{ nodes {{ {objects.selection('DeletionRef')} }} pageInfo {{ hasNextPage endCursor }} }} }}"
        )
        found: dict[int, dict[str, Any]] = {}
        after = None
        while True:
            try:
                answer = self.ask(self.shop.graphql(text, query=query, after=after, first=_INNER_PAGE))
            except NoAccessError as error:
                self.logger.warning("Stream %s: deletions are not seen: %s", self.name, error)
                return {}
            page = answer.document["data"]["events"]
            for node in page["nodes"]:
                number = objects.number_of(node["subjectId"])
                if number is not None:
                    found[number] = {
                        "id": number,
                        objects.GID: node["subjectId"],
                        DELETED_AT: node["createdAt"],
                    }
            if not page["pageInfo"]["hasNextPage"]:
                return found
            after = page["pageInfo"]["endCursor"]


_PROTECTED = (
    ", granted in its configuration. If it has that, customers' data are protected besides: apply for 'protected customer "
    "data access' of the app in the Partner Dashboard. 'on_no_access: skip' leaves such streams out."
)

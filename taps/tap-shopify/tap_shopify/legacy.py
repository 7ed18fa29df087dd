"""The REST Admin API, for apps that have nothing else (`api: rest`): https://shopify.dev/docs/api/admin-rest, read 2026-11-21.

Columns have REST's own names. Money is an exact decimal here too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from typing_extensions import override

from icetap.rest import Incremental, LinkPaging, RecordPage, RestStream, query
from tap_shopify import objects
from tap_shopify.stream import LOOKBACK_SECONDS, WINDOW

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from icetap.rest import Answer, Part, Request
    from tap_shopify.tap import TapShopify

PAGE = 250
IDS_AT_ONCE = 100


class RestResource(RestStream):
    """One resource of the REST Admin API. Pages follow the header Link as it is: nothing may be added to it."""

    resource: ClassVar[str] = ""
    """The path's last part, which is the name of the list in the answer too."""

    object_name: ClassVar[str] = ""
    """The type in `objects.graphql`."""

    conditions: ClassVar[Mapping[str, Any]] = {}
    is_filtered: ClassVar[bool] = True
    """Whether `updated_at_min` and `updated_at_max` are known."""

    added: ClassVar[Mapping[str, Any]] = {}
    """Columns with one value for all records."""

    primary_keys: ClassVar[Sequence[str]] = ("id",)

    @classmethod
    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Complete the declaration."""
        super().__init_subclass__(**kwargs)
        if not cls.resource:
            return
        cls.path = f"/admin/api/{{config.api_version}}/{cls.resource}.json"
        cls.records_jsonpath = f"$.{cls.resource}[*]"
        cls.params = {"limit": PAGE, **cls.conditions}
        cls.paging = LinkPaging()
        added = {name: {"type": ["string", "null"]} for name in cls.added}
        keys = {key: {"type": "integer"} for key in cls.primary_keys}
        cls.properties = {**objects.columns(cls.object_name), **added, **keys}
        if cls.is_filtered:
            cls.incremental = Incremental(
                replication_key="updated_at",
                start=query("updated_at_min"),
                end=query("updated_at_max"),
                lookback_seconds=LOOKBACK_SECONDS,
                window=WINDOW,
            )

    def __init__(self, tap: TapShopify, name: str | None = None) -> None:
        self.shop = tap
        super().__init__(tap, name)

    @override
    def ask(self, request: Request) -> Answer:
        answer = super().ask(request)
        self.shop.note(answer)
        return answer

    @override
    def records_in(self, answer: Answer, part: Part) -> RecordPage:
        page = super().records_in(answer, part)
        records = [{**objects.record(self.object_name, each), **self.added} for each in page.records]
        return RecordPage(records, contexts=page.contexts)


class ById(RestResource):
    """A resource that can only be asked for by ids, which a parent's records name; a hundred of them at once.

    Held in memory: the ids that were asked for, so that each is asked for once.
    """

    id_name: ClassVar[str] = ""
    """The parent's context that holds an id."""

    conditions: ClassVar[Mapping[str, Any]] = {"ids": "{partition.ids}"}
    is_filtered: ClassVar[bool] = False

    @override
    def begin(self, start: Mapping[str, Any]) -> None:
        super().begin(start)
        self._asked: set[int] = set()
        self._waiting: list[int] = []

    @override
    def read(self, contexts: Iterable[Mapping[str, Any]]) -> Iterator[RecordPage]:
        ids = dict.fromkeys(context[self.id_name] for context in contexts)
        self._waiting = [one for one in ids if one not in self._asked]
        self._asked.update(self._waiting)
        yield from super().read([{}])

    @override
    def partitions_of(self, parent: Mapping[str, Any]) -> list[dict[str, Any]]:
        ids = [parent[self.id_name]] if self.id_name in parent else self._waiting
        return [
            {"ids": ",".join(map(str, ids[first : first + IDS_AT_ONCE]))}
            for first in range(0, len(ids), IDS_AT_ONCE)
        ]

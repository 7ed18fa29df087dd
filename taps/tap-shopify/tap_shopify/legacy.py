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
    from collections.abc import Mapping, Sequence

    from icetap.rest import Answer, Part, Request
    from tap_shopify.tap import TapShopify

PAGE = 250


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

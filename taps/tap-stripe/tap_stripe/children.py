"""Objects that belong to others: read again for each parent that is new or has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from typing_extensions import override

from icetap.rest import ErrorRule, Match, RecordPage
from tap_stripe.objects import ACCOUNT_ID, LISTS, StripeObjects

if TYPE_CHECKING:
    from collections.abc import Iterator

    from icetap.rest import Part


class ChildStream(StripeObjects):
    """Children that have a list of their own at the API."""

    follow_parent = True
    errors = (ErrorRule(Match(status=(404,)), "skip", "Stripe does not have them any more"),)

    @override
    def pages_of(self, part: Part) -> Iterator[RecordPage]:
        for page in super().pages_of(part):
            yield RecordPage([_without_lists(record) for record in page.records], contexts=page.contexts)


class NestedStream(StripeObjects):
    """Children that their parent's record holds; they cost no request."""

    list_name: ClassVar[str] = ""
    """The list in the parent's record, which names it in `nested`."""

    follow_parent = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.part_of_parent = f"$.{cls.list_name}.data[*]"

    @override
    def pages_of(self, part: Part) -> Iterator[RecordPage]:
        found = part.parent[LISTS].get(self.list_name) or {}
        given = {name: value for name, value in part.parent.items() if name != LISTS}
        account = {ACCOUNT_ID: given[ACCOUNT_ID]} if ACCOUNT_ID in given else {}
        records = (self.post_process({**value, **given, **account}) for value in found.get("data") or ())
        yield RecordPage([record for record in records if record is not None])


def _without_lists(record: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in record.items() if name != LISTS}

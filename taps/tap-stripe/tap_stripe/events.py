"""What events tell: which objects changed, and which are gone (https://docs.stripe.com/api/events, read 2026-11-21)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from icetap.rest import Part
    from tap_stripe.stream import StripeStream


@dataclass(frozen=True, slots=True)
class Told:
    """The newest event of one object."""

    object_id: str
    event_id: str
    at: str
    is_deleted: bool
    payload: dict[str, Any] | None
    """The event's copy of the object, where that is what will be emitted."""

    def as_deleted(self) -> Told:
        """Return the same of an object that turned out to be gone."""
        return replace(self, is_deleted=True)


def read_events(stream: StripeStream, window: tuple[datetime, datetime], part: Part) -> dict[str, Told]:
    """Return the newest event of each object of a stream.

    Args:
        stream: Whose objects.
        window: From when (inclusive) until when, to the second.
        part: Which account's.

    Raises:
        NoAccessError: When the key may not read events.
    """
    first, last = (int(moment.timestamp()) for moment in window)
    params = {"created[gte]": first, "created[lt]": last, "types[]": list(stream.events)}

    def read() -> dict[str, Told]:
        found: dict[str, Told] = {}
        for events in stream.listed("/v1/events", params, part):
            for event in events:
                told = _told(stream, event)
                # Newest first; what is deleted stays so, whatever else happened in that second.
                if told is not None and (told.is_deleted or told.object_id not in found):
                    found[told.object_id] = told
        return found

    return stream.anew(read)


def _told(stream: StripeStream, event: Mapping[str, Any]) -> Told | None:
    """Return what an event says of an object of this stream; a dispute's event speaks of its charge too."""
    payload = event["data"]["object"]
    is_own = payload.get("object") == stream.object_name
    object_id = payload.get("id") if is_own else payload.get(stream.object_name)
    if not isinstance(object_id, str):
        return None
    is_deleted = event["type"].endswith(".deleted") and not stream.is_kept_when_deleted
    takes_copy = is_own and (is_deleted or not stream.config["hydrate_events"])
    at = datetime.fromtimestamp(event["created"], UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Told(object_id, event["id"], at, is_deleted, payload if takes_copy else None)

"""A tap of one stream or two for the tests of the REST engine."""

from typing import Any, ClassVar

from icetap.rest import (
    REST_SETTINGS,
    Auth,
    Bearer,
    Incremental,
    NoAuth,
    PagePaging,
    Paging,
    RestStream,
    RestTap,
    Size,
    query,
)
from icetap.testing.in_process import TapRun, run_tap

PAGE = PagePaging(page=query("page"), size=Size(query("size"), 5))
SINCE = Incremental(replication_key="at", start=query("since"))


class ThingsTap(RestTap):
    """Reads things."""

    name = "tap-things"
    config_jsonschema: ClassVar[dict] = {
        "type": "object",
        "properties": {
            "base_url": {"type": "string"},
            "token": {"type": ["string", "null"], "secret": True},
            **REST_SETTINGS,
        },
    }
    auth: ClassVar[Auth | None] = None

    def url(self) -> str:
        return self.config["base_url"]

    def make_auth(self) -> Auth:
        if self.auth is not None:
            return self.auth
        token = self.config.get("token")
        return Bearer(token) if token else NoAuth()


def things(paging: Paging | None, **declared: Any) -> type[RestStream]:
    """The stream `things`: objects with an `id` at `$.data[*]`."""
    attributes = {
        "name": "things",
        "path": "/things",
        "primary_keys": ("id",),
        "records_jsonpath": "$.data[*]",
        "paging": paging,
        "properties": {"id": {"type": "integer"}, "at": {"type": ["string", "null"], "format": "date-time"}},
    }
    return type("Things", (RestStream,), {**attributes, **declared})


def tap_of(*streams: type[RestStream], **declared: Any) -> type[ThingsTap]:
    """A tap of these streams."""
    return type("Tap", (ThingsTap,), {"stream_types": streams, **declared})


def read(api: Any, *streams: type[RestStream], state: Any = None, tap: Any = None, **settings: Any) -> TapRun:
    """Run the tap over a fake API."""
    tap_class = tap or tap_of(*streams)
    return run_tap(tap_class, {"base_url": api.url, "max_retries": 2, **settings}, state=state)


def serve(api: Any, rows: list[dict[str, Any]], **extra: Any) -> None:
    """The stream `things` from a list that may change."""

    def answer(call):
        since = call.param("since")
        found = [row for row in rows if not since or row.get("at", "9") >= since]
        return {"data": found if call.param("page", "1") == "1" else [], **extra}

    api.route("GET", "/things", answer)


def bookmark(run: TapRun, stream: str = "things") -> dict[str, Any]:
    return run.state["bookmarks"][stream]

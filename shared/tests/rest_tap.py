"""A tap of one stream or two for the tests of the REST engine."""

from typing import Any, ClassVar

from icetap.rest import REST_SETTINGS, Auth, Bearer, NoAuth, Paging, RestStream, RestTap
from icetap.testing.in_process import TapRun, run_tap


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

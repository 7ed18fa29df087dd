"""The server of a fake API, in a thread of the test."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec
from typing_extensions import override

if TYPE_CHECKING:
    from types import TracebackType

    from icetap.testing.api.traps import Trap

_ENCODE = msgspec.json.Encoder(decimal_format="number").encode


@dataclass(frozen=True)
class Call:
    """One request that came."""

    method: str
    path: str
    params: Mapping[str, list[str]]
    headers: Mapping[str, str]
    """Names in lower case."""

    body: bytes
    groups: Mapping[str, str] = field(default_factory=dict)
    """What the route's pattern found in the path."""

    at: float = 0.0
    """When it came, by `time.monotonic`."""

    def param(self, name: str, default: str = "") -> str:
        """Return the last value of a query parameter."""
        return self.params.get(name, [default])[-1]

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body) if self.body else None

    @property
    def form(self) -> dict[str, str]:
        """The body as form fields."""
        return {
            name: values[-1] for name, values in parse_qs(self.body.decode(), keep_blank_values=True).items()
        }


@dataclass(frozen=True)
class Reply:
    """What is answered."""

    body: Any = None
    """Sent as JSON, bytes as they are."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    media_type: str = "application/json"
    cut_after: int | None = None
    """Close the connection after so many bytes of the body, although more were announced."""

    delay: float = 0.0
    """Seconds before the first byte."""

    @property
    def content(self) -> bytes:
        """The body's bytes."""
        return self.body if isinstance(self.body, bytes) else _ENCODE(self.body)


Route = Callable[[Call], Any]


class FakeApi:
    """An HTTP server on a free port of this machine.

    Args:
        skew: How far the server's clock is ahead of the real one.
        latency: Seconds that every answer takes.
        traps_of: Another server whose traps are set here too.
    """

    def __init__(
        self, *, skew: timedelta = timedelta(), latency: float = 0.0, traps_of: FakeApi | None = None
    ) -> None:
        self._traps_of = traps_of
        self.skew = skew
        self.latency = latency
        self.calls: list[Call] = []
        self.trap: Trap | None = None
        self._routes: list[tuple[str, re.Pattern[str], Route]] = []
        self._lock = threading.RLock()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the server."""
        self._server.shutdown()
        self._server.server_close()

    def now(self) -> datetime:
        """The server's own time."""
        return datetime.now(UTC) + self.skew

    # --- routes -----------------------------------------------------------------------------------

    def route(self, method: str, path: str, answer: Route) -> None:
        """Answer requests of a path; `{name}` in it stands for one segment. A later route beats an earlier one.

        Args:
            method: `GET`, `POST`, or `*` for any.
            path: Such as `/clients/{client_id}/forms`.
            answer: Returns a `Reply`, or what is sent as JSON. One request is answered at a time.
        """
        pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path)
        self._routes.insert(0, (method, re.compile(pattern), answer))

    def take(self, since: int = 0) -> list[Call]:
        """Return the requests that came, from the so-manieth on."""
        return self.calls[since:]

    def answer(self, call: Call) -> Reply:
        """Return the answer to a request, spoiled by the trap if there is one."""
        with self._lock:
            self.calls.append(call)
            number = len(self.calls)
            trap = self.trap or (self._traps_of.trap if self._traps_of else None)
            spoiled = trap.before(self, call, number) if trap else None
            reply = spoiled or self._reply(call)
            return trap.after(self, call, reply, number) if trap and spoiled is None else reply

    def _reply(self, call: Call) -> Reply:
        for method, pattern, answer in self._routes:
            match = pattern.fullmatch(call.path)
            if match and method in {"*", call.method}:
                groups = {name: unquote(value) for name, value in match.groupdict().items()}
                found = answer(replace(call, groups=groups))
                return found if isinstance(found, Reply) else Reply(found)
        return Reply({"error": {"message": f"no route for {call.path}"}}, status=404)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    @override
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves is no news."""


def _handler(api: FakeApi) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            parts = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            params = parse_qs(parts.query, keep_blank_values=True)
            call = Call(self.command, parts.path, params, headers, body, at=time.monotonic())
            reply = api.answer(call)
            time.sleep(api.latency + reply.delay)
            self._send(reply)

        def _send(self, reply: Reply) -> None:
            content = reply.content
            self.send_response_only(reply.status)
            self.send_header("Date", format_datetime(api.now().replace(microsecond=0), usegmt=True))
            self.send_header("Content-Type", reply.media_type)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if reply.cut_after is not None:
                self.wfile.write(content[: reply.cut_after])
                self.close_connection = True
                return
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _answer  # noqa: N815

        @override
        def log_message(self, format: str, *args: Any) -> None:
            """Requests are noted in `FakeApi.calls`."""

    return Handler

"""Proxies that stand before a real HTTP server and spoil the connection: what a client does then is what is tested.

`HttpProxy` delays, refuses and cuts single requests; `TokenGate` lets nobody through without a token. What speaks
another protocol has `icetap.testing.relays`.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import re
import secrets
import sys
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs, unquote_plus

from icetap.testing.relays import end_connection

if TYPE_CHECKING:
    from collections.abc import Callable
    from email.message import Message

UPSTREAM_SECONDS = 60.0
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "te", "upgrade"})


@dataclass(frozen=True)
class Request:
    """What a client asked for."""

    method: str
    path: str
    headers: Message
    body: bytes


@dataclass(frozen=True)
class Answer:
    """What a client is told."""

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""


class CutError(Exception):
    """The connection to the client ends here, without another word."""


@dataclass
class Fault:
    """What happens to requests that match, the first `times` of them after `skip` others.

    Attributes:
        method: The HTTP method.
        path: A regular expression for the path, found anywhere in it.
        does: Gets the request and a function that forwards it; returns the answer or raises `CutError`.
        times: How many requests it happens to.
        skip: How many matching requests pass untouched before.
        hits: How many it has happened to.
    """

    method: str
    path: str
    does: Callable[[Request, Callable[[], Answer]], Answer]
    times: int = 1
    skip: int = 0
    hits: int = 0

    def takes(self, request: Request) -> bool:
        """Whether this request is one of those; counts it."""
        if request.method != self.method or not re.search(self.path, request.path):
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.hits += 1
        return self.hits <= self.times


def lose_request(_request: Request, _forward: Callable[[], Answer]) -> Answer:
    """Cut the connection before the server has heard of the request."""
    raise CutError


def lose_answer(_request: Request, forward: Callable[[], Answer]) -> Answer:
    """Let the server do it, and cut the connection instead of answering."""
    forward()
    raise CutError


def delay(seconds: float) -> Callable[[Request, Callable[[], Answer]], Answer]:
    """Forward the request after a while, whether the client still waits or not."""

    def does(_request: Request, forward: Callable[[], Answer]) -> Answer:
        time.sleep(seconds)
        return forward()

    return does


def refuse(
    status: int, *, retry_after: str | None = None, after_the_fact: bool = False
) -> Callable[[Request, Callable[[], Answer]], Answer]:
    """Answer with an error, in the form of the Iceberg REST specification.

    Args:
        status: The HTTP status.
        retry_after: The header `Retry-After`.
        after_the_fact: Let the server do it before.
    """

    def does(_request: Request, forward: Callable[[], Answer]) -> Answer:
        if after_the_fact:
            forward()
        return error_answer(status, "a fault of the test", retry_after=retry_after)

    return does


def error_answer(status: int, kind: str, *, retry_after: str | None = None) -> Answer:
    """Return an error of the Iceberg REST specification."""
    body = json.dumps({"error": {"message": kind, "type": kind, "code": status}}).encode()
    headers = [("Content-Type", "application/json")]
    return Answer(status, headers + ([("Retry-After", retry_after)] if retry_after else []), body)


class HttpProxy:
    """Forwards HTTP/1.1 to a server on this machine; one connection for each request."""

    def __init__(self, port: int) -> None:
        self._upstream = port
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self.requests: list[Request] = []
        """What came, in order."""
        self._server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"proxy": self}))
        self.port: int = self._server.server_address[1]

    @property
    def url(self) -> str:
        """Where clients ask."""
        return f"http://127.0.0.1:{self.port}"

    def add(self, fault: Fault) -> Fault:
        """Spoil requests from now on."""
        with self._lock:
            self._faults.append(fault)
        return fault

    def handle(self, request: Request) -> Answer:
        """Return what the client gets.

        Raises:
            CutError: When it gets nothing.
        """
        with self._lock:
            self.requests.append(request)
            fault = next((one for one in self._faults if one.takes(request)), None)
        if fault is not None:
            return fault.does(request, lambda: self.forward(request))
        return self.forward(request)

    def forward(self, request: Request) -> Answer:
        """Ask the server itself."""
        connection = http.client.HTTPConnection("127.0.0.1", self._upstream, timeout=UPSTREAM_SECONDS)
        with contextlib.closing(connection):
            connection.putrequest(request.method, request.path, skip_host=True, skip_accept_encoding=True)
            for name, value in request.headers.items():
                if name.lower() not in _HOP_BY_HOP | {"expect"}:
                    connection.putheader(name, value)
            if "Content-Length" not in request.headers and request.body:
                connection.putheader("Content-Length", str(len(request.body)))
            connection.endheaders(request.body or None)
            answer = connection.getresponse()
            body = answer.read()
        kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in _HOP_BY_HOP]
        return Answer(answer.status, kept, body)

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep quiet about clients that were killed; tell of everything else."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """Reads a request, lets the proxy decide, and tells the answer."""

    proxy: HttpProxy
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 -- the name is the base's
        """Keep quiet."""

    def serve(self) -> None:
        """Serve one request of any method."""
        request = Request(self.command, self.path, self.headers, self._body())
        try:
            answer = self.proxy.handle(request)
        except (CutError, OSError):
            self.close_connection = True
            end_connection(self.connection)
            return
        with contextlib.suppress(OSError):  # a client that waits no more
            self._tell(answer)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while length := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(length))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _tell(self, answer: Answer) -> None:
        self.send_response_only(answer.status)
        names = {name.lower() for name, _ in answer.headers}
        for name, value in answer.headers:
            self.send_header(name, value)
        if "content-length" not in names:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)


for _method in ("GET", "HEAD", "POST", "PUT", "DELETE"):
    setattr(_Handler, f"do_{_method}", _Handler.serve)


class TokenGate(HttpProxy):
    """A token server of the OAuth2 client-credentials grant, and the door to a server that wants its tokens.

    The client may send its secret as RFC 6749 recommends (HTTP Basic) or in the form, as pyiceberg's `credential`
    does. A token that is unknown is refused with 401, one that is too old with 419, as the Iceberg REST specification
    has it.
    """

    TOKEN_PATH = "/v1/oauth/tokens"  # noqa: S105 -- a path

    def __init__(
        self,
        port: int,
        *,
        client: str,
        secret: str,
        lifetime_seconds: float = 3600,
        tells_lifetime: bool = True,
    ) -> None:
        super().__init__(port)
        self._client = (client, secret)
        self._lifetime = lifetime_seconds
        self._tells_lifetime = tells_lifetime
        self._tokens: dict[str, float] = {}
        self.issued = 0
        """How many tokens were given out."""
        self.refused: list[int] = []
        """The statuses with which requests were turned away."""

    def revoke(self) -> None:
        """Forget all tokens, whatever time they had left."""
        self._tokens.clear()

    def handle(self, request: Request) -> Answer:
        """Give out tokens; let through who has one."""
        if request.path == self.TOKEN_PATH:
            return self._token(request)
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        ends = self._tokens.get(token) if kind == "Bearer" else None
        if ends is None:
            return self._turned_away(401, "NotAuthorizedException")
        if time.monotonic() > ends:
            return self._turned_away(419, "AuthenticationTimeoutException")
        return super().handle(request)

    def _turned_away(self, status: int, kind: str) -> Answer:
        self.refused.append(status)
        return error_answer(status, kind)

    def _token(self, request: Request) -> Answer:
        if self._client not in _clients_of(request):
            body = json.dumps({"error": "invalid_client", "error_description": "unknown client"}).encode()
            return Answer(401, [("Content-Type", "application/json")], body)
        token = secrets.token_urlsafe(24)
        self._tokens[token] = time.monotonic() + self._lifetime
        self.issued += 1
        told = {"expires_in": int(self._lifetime)} if self._tells_lifetime else {}
        body = json.dumps({"access_token": token, "token_type": "bearer", **told}).encode()
        return Answer(200, [("Content-Type", "application/json")], body)


def _clients_of(request: Request) -> list[tuple[str, str]]:
    """Whom a request may come from: in HTTP Basic, some clients encode id and secret as forms do and some do not."""
    kind, _, value = request.headers.get("Authorization", "").partition(" ")
    if kind == "Basic":
        client, _, secret = base64.b64decode(value).decode().partition(":")
        return [(client, secret), (unquote_plus(client), unquote_plus(secret))]
    form = parse_qs(request.body.decode())
    return [(form.get("client_id", [""])[0], form.get("client_secret", [""])[0])]

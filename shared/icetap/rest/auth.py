"""Signing in: each way is a small object that signs requests, renews what it can, and is bound to hosts by the client."""

from __future__ import annotations

import base64
import threading
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from icetap.errors import ConfigurationError
from icetap.rest.failures import CredentialsError
from icetap.rest.jsonpath import JSONPath
from icetap.rest.request import Place, Request
from icetap.secrets.redaction import REDACTOR
from icetap.secrets.rotating import exchanging

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from icetap.rest.client import Client

EARLY_SECONDS = 60.0
"""A token is renewed this long before it ends, or after three quarters of its life when that is shorter."""


class Auth(ABC):
    """A way to sign in."""

    is_renewable = False
    """Whether `renew` may help after a 401."""

    @abstractmethod
    def sign(self, request: Request, client: Client) -> None:
        """Put the credentials into a request.

        Raises:
            CredentialsError: When there are none to be had.
        """

    def renew(self) -> None:  # noqa: B027 -- most ways have nothing to renew
        """Forget what was signed in with, so that the next request signs in anew."""


class NoAuth(Auth):
    """An open API."""

    @override
    def sign(self, request: Request, client: Client) -> None:
        """Nothing is needed."""


@dataclass(frozen=True)
class ApiKey(Auth):
    """A key at a place of the request: header, query string or cookie."""

    place: Place
    value: str = field(repr=False)

    @override
    def sign(self, request: Request, client: Client) -> None:
        REDACTOR.add(self.value)
        request.put(self.place, self.value)


@dataclass(frozen=True)
class Basic(Auth):
    """User and password in the header `Authorization`, in UTF-8 (RFC 7617)."""

    username: str = field(repr=False)
    password: str = field(default="", repr=False)

    @override
    def sign(self, request: Request, client: Client) -> None:
        pair = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
        REDACTOR.add(pair)
        request.headers["Authorization"] = f"Basic {pair}"


@dataclass(frozen=True)
class Bearer(Auth):
    """A token in the header `Authorization`."""

    token: str = field(repr=False)
    prefix: str = "Bearer"

    @override
    def sign(self, request: Request, client: Client) -> None:
        REDACTOR.add(self.token)
        request.put(Place("header", "Authorization"), f"{self.prefix} {self.token}".lstrip())


@dataclass(frozen=True)
class Headers(Auth):
    """Any headers."""

    headers: Mapping[str, str] = field(repr=False)

    @override
    def sign(self, request: Request, client: Client) -> None:
        for name, value in self.headers.items():
            REDACTOR.add(value)
            request.put(Place("header", name), value)


class AllOf(Auth):
    """Several ways at once, such as an application's key and a user's token."""

    def __init__(self, parts: Sequence[Auth]) -> None:
        self.parts = parts
        self.is_renewable = any(part.is_renewable for part in parts)

    @override
    def sign(self, request: Request, client: Client) -> None:
        for part in self.parts:
            part.sign(request, client)

    @override
    def renew(self) -> None:
        for part in self.parts:
            part.renew()


class _Renewable(Auth):
    """Signs with a token that it fetches when there is none, or when the one there is ends soon."""

    is_renewable = True

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._token: str | None = None
        self._until = float("inf")

    @abstractmethod
    def fetch(self, client: Client) -> tuple[str, float | None]:
        """Return a new token and how many seconds it lives, if that is known."""

    @abstractmethod
    def put_token(self, request: Request, token: str, client: Client) -> None:
        """Put the token into a request."""

    @override
    def sign(self, request: Request, client: Client) -> None:
        with self._lock:
            if self._token is None or time.monotonic() >= self._until:
                self._token, lives = self.fetch(client)
                REDACTOR.add(self._token)
                margin = 0.0 if lives is None else min(EARLY_SECONDS, lives / 4)
                self._until = float("inf") if lives is None else time.monotonic() + lives - margin
            token = self._token
        self.put_token(request, token, client)

    @override
    def renew(self) -> None:
        with self._lock:
            self._token = None


class OAuth2(_Renewable):
    """A token from a token endpoint (RFC 6749): client credentials, refresh token or password.

    A refresh token that the server replaces is written back to the secrets store that it came from. One that is written
    out in the configuration is kept for the run alone, and the log says so.
    """

    def __init__(
        self,
        token_url: str,
        *,
        grant: str,
        fields: Mapping[str, str | None],
        scopes: Sequence[str] = (),
        client_auth: str = "body",
        extra: Mapping[str, Any] | None = None,
        token: str = "$.access_token",  # noqa: S107 -- a path in the answer
        expires_in: str = "$.expires_in",
    ) -> None:
        """Declare the request for a token.

        Args:
            token_url: The token endpoint: a whole URL, or a path of the API.
            grant: `client_credentials`, `refresh_token` or `password`.
            fields: `client_id`, `client_secret`, `refresh_token`, `username`, `password`, as the grant needs them.
            scopes: Asked for, joined by spaces.
            client_auth: `body` or `basic`: where the client's id and secret stand.
            extra: More fields.
            token: Where the answer has the token.
            expires_in: Where the answer has its life in seconds.
        """
        super().__init__()
        self._url, self._grant, self._client_auth = token_url, grant, client_auth
        self._fields = {name: value for name, value in fields.items() if value is not None}
        self._extra = {**(extra or {}), **({"scope": " ".join(scopes)} if scopes else {})}
        self._token_path, self._life_path = JSONPath(token), JSONPath(expires_in)
        for name, value in self._fields.items():
            if name not in {"client_id", "username"}:
                REDACTOR.add(value)

    @property
    def token_url(self) -> str:
        """Where the client's secret is sent to; the client allows this host."""
        return self._url

    @override
    def fetch(self, client: Client) -> tuple[str, float | None]:
        if self._grant != "refresh_token":
            return self._tokens(client)[:2]
        with exchanging(self._fields.get("refresh_token", "")) as credential:
            self._fields["refresh_token"] = credential.value
            token, lives, replacement = self._tokens(client)
            if replacement and not credential.replace(replacement):
                client.logger.warning(
                    "The server has replaced the refresh token. The one in the settings may be good for no further run. "
                    "Keep it in the secrets store (`icetap secrets set NAME`), and refer to it: secret://NAME"
                )
            self._fields["refresh_token"] = credential.value
        return token, lives

    def _tokens(self, client: Client) -> tuple[str, float | None, str | None]:
        """Ask the endpoint; return the token, its life in seconds, and the refresh token that came along."""
        fields = dict(self._fields)
        request = Request(path=self._url, method="POST", is_signed=False)
        if self._client_auth == "basic":
            Basic(fields.pop("client_id", ""), fields.pop("client_secret", "")).sign(request, client)
        request.form = {"grant_type": self._grant, **fields, **self._extra}
        request.headers["Accept"] = "application/json"
        answer = client.sign_in(request, what="the token endpoint")
        token = self._token_path.first(answer.document)
        if not isinstance(token, str):
            raise CredentialsError(
                f"the token endpoint answered without a token at '{self._token_path.text}'. "
                "Check the grant and the client's settings."
            )
        replacement = answer.document.get("refresh_token") if isinstance(answer.document, dict) else None
        lives = _seconds(self._life_path.first(answer.document))
        return token, lives, replacement if isinstance(replacement, str) else None

    @override
    def put_token(self, request: Request, token: str, client: Client) -> None:
        Bearer(token).sign(request, client)


class Session(_Renewable):
    """A login call whose answer holds a token for the other calls."""

    def __init__(
        self,
        login: Callable[[], Request],
        *,
        token: str,
        send: Callable[[str], Auth],
        expires_after: float | None = None,
    ) -> None:
        """Declare the login.

        Args:
            login: Makes the request for a token; it is sent without other credentials.
            token: Where the answer has the token.
            send: Makes the way to sign in with a token.
            expires_after: How many seconds a token lives; until a 401 when left out.
        """
        super().__init__()
        self._login, self._token_path, self._send, self._life = login, JSONPath(token), send, expires_after

    @override
    def fetch(self, client: Client) -> tuple[str, float | None]:
        request = self._login()
        request.is_signed = False
        answer = client.sign_in(request, what="the login")
        token = self._token_path.first(answer.document)
        if token is None:
            raise CredentialsError(f"the login answered without a token at '{self._token_path.text}'.")
        return str(token), self._life

    @override
    def put_token(self, request: Request, token: str, client: Client) -> None:
        self._send(token).sign(request, client)


def _seconds(value: Any) -> float | None:
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        return None


def needed(value: str | None, *, setting: str) -> str:
    """Return a credential that the settings have.

    Raises:
        ConfigurationError: Naming the setting when they do not.
    """
    if not value:
        raise ConfigurationError(f"setting '{setting}' is missing: nobody can sign in without it")
    return value

"""pyiceberg's REST catalog with the time-outs and the renewal of tokens that it lacks.

Seen in pyiceberg 0.12.0 (2026-11-21): requests are sent without any time-out, so a server that hangs holds a run for
ever; a token of `auth: {type: oauth2}` is not fetched again when the server refuses it before its time is over.
"""

from __future__ import annotations

import functools
import sys
import time
from typing import TYPE_CHECKING, Any

import requests
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.catalog.rest.auth import OAuth2AuthManager, OAuth2TokenProvider
from pyiceberg.exceptions import OAuthError
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Mapping

CONNECT_SECONDS = 10.0
_NEVER = sys.maxsize
_REFUSED = frozenset({400, 401, 403})


class TimedRestCatalog(RestCatalog):
    """A REST catalog whose requests end after `timeout_seconds` of silence."""

    def __init__(self, name: str, *, timeout_seconds: float, **properties: Any) -> None:
        self._timeout = (min(CONNECT_SECONDS, timeout_seconds), timeout_seconds)
        super().__init__(name, **properties)

    @override
    def _config_headers(self, session: requests.Session) -> None:
        # The first thing that is done to a new session: what it asks for afterwards, tokens too, is timed.
        super()._config_headers(session)
        timed = functools.partial(session.request, timeout=self._timeout)
        session.request = timed  # type: ignore[method-assign]  # whatever adapter is mounted, time-outs stay

    @override
    def _create_session(self) -> requests.Session:
        session = super()._create_session()
        if isinstance(self._auth_manager, OAuth2AuthManager):
            provider = self._auth_manager.token_provider
            self._auth_manager.token_provider = _TimedTokenProvider(provider, timeout=self._timeout)
        return session

    @override
    def _refresh_token(self) -> None:
        super()._refresh_token()
        if isinstance(self._auth_manager, OAuth2AuthManager):
            self._auth_manager.token_provider._token = None  # noqa: SLF001 -- the next request fetches another one


class _TimedTokenProvider(OAuth2TokenProvider):
    """Fetches tokens of the client-credentials grant (RFC 6749, section 4.4) in bounded time."""

    def __init__(self, given: OAuth2TokenProvider, *, timeout: tuple[float, float]) -> None:
        super().__init__(
            given.client_id,
            given.client_secret,
            given.token_url,
            given.scope,
            given.refresh_margin,
            given.expires_in,
        )
        self._timeout = timeout

    @override
    def _refresh_token(self) -> None:
        answer = requests.post(
            self.token_url,
            data={"grant_type": "client_credentials", **({"scope": self.scope} if self.scope else {})},
            headers={"Authorization": self._client_secret_header},
            timeout=self._timeout,
        )
        try:
            answer.raise_for_status()
        except requests.HTTPError as error:
            if answer.status_code in _REFUSED:
                raise OAuthError(f"the token server answered with status {answer.status_code}") from error
            raise
        found = answer.json()
        seconds = found.get("expires_in", self.expires_in)
        self._token = found["access_token"]
        # A server that does not tell how long a token lives refuses it one day: then another one is fetched.
        now = time.monotonic()
        self._expires_at = _NEVER if seconds is None else int(now + seconds - self._margin(seconds))

    def _margin(self, seconds: float) -> float:
        """How long before its end a token is renewed; less for tokens that hardly live longer than that."""
        return min(self.refresh_margin, seconds / 2)


def is_rest(properties: Mapping[str, Any]) -> bool:
    """Whether these are the properties of a REST catalog, as pyiceberg infers it."""
    kind = properties.get("type")
    if kind:
        return str(kind).lower() == "rest"
    return "py-catalog-impl" not in properties and str(properties.get("uri", "")).startswith("http")

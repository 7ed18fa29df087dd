"""How a definition's `auth` becomes a way to sign in."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from icetap.errors import ConfigurationError
from icetap.rest import (
    AllOf,
    ApiKey,
    Auth,
    Basic,
    Bearer,
    Form,
    GraphQL,
    Headers,
    NoAuth,
    OAuth2,
    Place,
    Session,
    Text,
)
from icetap.rest.request import Asked, Body
from icetap.rest.templates import render
from tap_rest.durations import duration

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

OAUTH_FIELDS = ("client_id", "client_secret", "refresh_token", "username", "password")


def make_auth(declared: Any, config: Mapping[str, Any], *, where: str) -> Auth:
    """Return the way to sign in that a definition declares.

    Raises:
        ConfigurationError: When a setting that it needs has no value.
    """
    if declared is None:
        return NoAuth()
    if isinstance(declared, list):
        return AllOf([make_auth(one, config, where=where) for one in declared])
    maker = _Signing({"config": config}, where)
    auth: Auth = getattr(maker, declared["type"])(declared)
    return auth


class _Signing:
    """One method for each type of the format."""

    def __init__(self, scope: dict[str, Any], where: str) -> None:
        self._scope = scope
        self._where = where

    def _value(self, declared: Mapping[str, Any], key: str, default: str | None = None) -> str:
        given = declared.get(key, default)
        value = render(given, self._scope)
        if value is None:
            raise ConfigurationError(
                f"{self._where}: signing in needs {given}, which has no value. Give that setting, or set its default."
            )
        return str(value)

    def none(self, _: Mapping[str, Any]) -> Auth:
        return NoAuth()

    def api_key(self, declared: Mapping[str, Any]) -> Auth:
        return ApiKey(Place(declared["in"], declared["name"]), self._value(declared, "value"))

    def basic(self, declared: Mapping[str, Any]) -> Auth:
        return Basic(self._value(declared, "username"), self._value(declared, "password", ""))

    def bearer(self, declared: Mapping[str, Any]) -> Auth:
        return Bearer(self._value(declared, "token"), prefix=declared.get("prefix", "Bearer"))

    def headers(self, declared: Mapping[str, Any]) -> Auth:
        return Headers({name: self._value(declared["headers"], name) for name in declared["headers"]})

    def oauth2(self, declared: Mapping[str, Any]) -> Auth:
        options = {
            key: declared[key] for key in ("scopes", "client_auth", "token", "expires_in") if key in declared
        }
        fields = {key: self._value(declared, key) for key in OAUTH_FIELDS if key in declared}
        return OAuth2(
            self._value(declared, "token_url"),
            grant=declared["grant"],
            fields=fields,
            extra=render(declared.get("extra") or {}, self._scope),
            **options,
        )

    def session(self, declared: Mapping[str, Any]) -> Auth:
        after = declared.get("expires_after")
        return Session(
            partial(asked(declared["login"]).request, self._scope, {}, where=self._where),
            token=declared["token"],
            send=self._sender(declared["send"]),
            expires_after=duration(after).total_seconds() if after else None,
        )

    def _sender(self, declared: Mapping[str, Any]) -> Callable[[str], Auth]:
        def send(token: str) -> Auth:
            made: Auth = getattr(
                _Signing({**self._scope, "auth": {"token": token}}, self._where), declared["type"]
            )(declared)
            return made

        return send

    def choice(self, declared: Mapping[str, Any]) -> Auth:
        chosen = self._value(declared, "from")
        if chosen not in declared["options"]:
            known = ", ".join(declared["options"])
            raise ConfigurationError(
                f"{self._where}: {declared['from']} is '{chosen}', for which there is no way to sign in. "
                f"Expected one of {known}."
            )
        return make_auth(declared["options"][chosen], self._scope["config"], where=self._where)


def asked(declared: Mapping[str, Any]) -> Asked:
    """Return a request of the format as the engine has it."""
    return Asked(
        path=declared.get("path", ""),
        method=declared.get("method", "GET"),
        params=declared.get("params") or {},
        headers=declared.get("headers") or {},
        body=_body(declared.get("body") or {}),
    )


def _body(declared: Mapping[str, Any]) -> Body:
    match declared:
        case {"json": value}:
            found: Body = value
            return found
        case {"form": fields}:
            return Form(fields)
        case {"text": text}:
            return Text(text)
        case {"graphql": graphql}:
            return GraphQL(graphql["query"], graphql.get("variables") or {})
    return None

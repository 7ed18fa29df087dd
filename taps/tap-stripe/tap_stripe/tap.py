"""tap-stripe: Stripe's objects, with what changed and what was deleted since the last run."""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from typing_extensions import override

from icetap.errors import ConfigurationError
from icetap.rest import (
    REST_SETTINGS,
    Bearer,
    ErrorRule,
    JSONPath,
    Match,
    Rate,
    Request,
    RestTap,
    SkippedPartError,
    needed,
)
from icetap.settings import did_you_mean
from tap_stripe.streams import STREAMS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from icetap.rest import Answer, Auth, ClientOptions, RestStream

API_VERSION = "2026-08-26.dahlia"
"""The version of the declared columns."""

_MESSAGE = JSONPath("$.error.message")
_KEY = re.compile(r"\b(?:sk|rk)_\w*[\w*]*")
_RIGHT = re.compile(r"\brak_\w+")
_MAX_CHARACTERS = 500


def explained(answer: Answer) -> str | None:
    """Return Stripe's own words for an error, without the key that they show in part."""
    words = answer.first(_MESSAGE)
    return None if words is None else f"Stripe says: {_KEY.sub('the key', str(words))[:_MAX_CHARACTERS]}"


def missing_right(answer: Answer) -> str | None:
    """Return which right a restricted key lacks, from the words of a 403."""
    words = answer.first(_MESSAGE)
    rights = sorted(set(_RIGHT.findall(str(words)))) if words else []
    if not rights:
        return explained(answer)
    return (
        f"The key of the setting 'api_key' lacks the right {' or '.join(rights)}. Give it in Stripe's Dashboard "
        "(Developers, API keys, the key, Edit), or deselect the stream"
    )


def _with_parameter(code: str) -> Callable[[Answer], bool]:
    matches = Match(path="$.error.code", equals=code)
    names = Match(path="$.error.param", equals="starting_after")
    return lambda answer: answer.status in {400, 404} and matches(answer) and names(answer)


class TapStripe(RestTap):
    """Reads Stripe: lists in a first run, then what is new, and by events what changed or was deleted."""

    name = "tap-stripe"
    package_name = "icetap-tap-stripe"
    stream_types = STREAMS
    errors = (
        ErrorRule(_with_parameter("resource_missing"), "restart"),
        ErrorRule(Match(status=(400,), contains="aged out"), "restart"),
        ErrorRule(Match(status=(403,)), "no_access", missing_right),
        ErrorRule(Match(status=(400,), contains="Platform Controls"), "no_access", explained),
        ErrorRule(Match(status=(409,)), "retry"),
        ErrorRule(Match(status=(400, 402, 404)), "fail", explained),
    )

    config_jsonschema: ClassVar[dict] = {  # type: ignore[type-arg]
        "type": "object",
        "properties": {
            "api_key": {
                "type": "string",
                "minLength": 1,
                "secret": True,
                "title": "API key",
                "description": "A restricted key (rk_…) with the right to read each selected object and Events, or a secret "
                "key (sk_…).",
            },
            "account_id": {
                "type": ["string", "null"],
                "pattern": "^acct_",
                "title": "Account",
                "description": "The connected account to read instead of the key's own.",
                "examples": ["acct_1032D82eZvKYlo2C"],
            },
            "include_connected_accounts": {
                "type": "boolean",
                "default": False,
                "title": "Connected accounts",
                "description": "Whether every connected account is read besides the key's own. Each record then has "
                "`account_id`, which is a part of the key.",
            },
            "api_version": {
                "type": "string",
                "default": API_VERSION,
                "title": "API version",
                "description": "The version that is asked for. The columns are those of the default; of another version, "
                "others are added.",
            },
            "hydrate_events": {
                "type": "boolean",
                "default": True,
                "title": "Changed objects anew",
                "description": "Whether an object that an event tells of is asked for as it is now. Otherwise the event's own "
                "copy counts, which costs no request but is of the account's own API version.",
            },
            "expand": {
                "type": ["object", "null"],
                "additionalProperties": {"type": "array", "items": {"type": "string"}},
                "title": "Expanded fields",
                "description": "Fields that hold an id, to be filled with the object: {stream: [field, …]}.",
                "examples": [{"charges": ["balance_transaction"]}],
            },
            "requests_per_second": {
                "type": "integer",
                "minimum": 1,
                "maximum": 1000,
                "default": 20,
                "title": "Requests per second",
                "description": "How fast to ask. Stripe allows 25 requests a second for one kind of object.",
            },
            "base_url": {
                "type": "string",
                "format": "uri",
                "default": "https://api.stripe.com",
                "title": "Base URL",
                "description": "Where the API is, such as a proxy of your own.",
            },
            **REST_SETTINGS,
        },
        "required": ["api_key"],
    }

    _has_asked_for_events = False

    @override
    def url(self) -> str:
        return str(self.config["base_url"])

    @override
    def make_auth(self) -> Auth:
        return Bearer(needed(self.config.get("api_key"), setting="api_key"))

    @override
    def client_options(self) -> ClientOptions:
        self.rates = (Rate(self.config["requests_per_second"], 1),)
        return super().client_options()

    @override
    def declared_streams(self) -> Sequence[RestStream]:
        found = super().declared_streams()
        names = [stream.declared_name for stream in found]
        for name in self.config.get("expand") or {}:
            if name not in names:
                raise ConfigurationError(
                    f"setting 'expand': there is no stream '{name}'{did_you_mean(name, names) or '.'}"
                )
        return found

    @override
    def _run(self) -> None:
        if "_test_" in self.config["api_key"]:
            self.logger.info(
                "The key is one of a sandbox: what comes are its objects, not those of live payments."
            )
        super()._run()

    def ask_for_events(self) -> None:
        """Warn in a first run already, and once, when the key may not read events, which only later runs do."""
        if self._has_asked_for_events:
            return
        self._has_asked_for_events = True
        denied = ErrorRule(Match(status=(403,)), "skip", missing_right)
        try:
            self._asked("/v1/events", rules=[denied], limit=1)
        except SkippedPartError as error:
            self.logger.warning("Later runs will not see changes and deletes of older objects: %s", error)

    # --- Connect ------------------------------------------------------------------------------------

    @property
    def is_platform(self) -> bool:
        """Whether connected accounts are read besides the key's own."""
        return bool(self.config["include_connected_accounts"])

    @cached_property
    def own_account(self) -> str:
        """The id of the account that the key belongs to."""
        return str(self._asked("/v1/account")["id"])

    @cached_property
    def accounts(self) -> list[str]:
        """The ids of all accounts to read, the key's own first."""
        found, after = [self.own_account], None
        while True:
            page = self._asked("/v1/accounts", limit=100, **({"starting_after": after} if after else {}))
            found += [account["id"] for account in page["data"] if account["id"] not in found]
            if not page["has_more"] or not page["data"] or page["data"][-1]["id"] == after:
                return found
            after = page["data"][-1]["id"]

    def _asked(self, path: str, *, rules: Sequence[ErrorRule] = (), **params: Any) -> Any:
        headers = {"Stripe-Version": self.config["api_version"]}
        request = Request(path=path, params=params, headers=headers)
        return self.client.send(request, rules=rules).document

    def account_header(self, account: str | None) -> dict[str, str]:
        """Return the header that asks for another account's objects than the key's own."""
        given = account or self.config.get("account_id")
        return {"Stripe-Account": given} if given and not (account and account == self.own_account) else {}


if __name__ == "__main__":
    TapStripe.cli()

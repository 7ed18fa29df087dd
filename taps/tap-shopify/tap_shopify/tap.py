"""Singer tap for Shopify: settings, signing in, and what is true of the whole API."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, ClassVar

from typing_extensions import override

from icetap.errors import ConfigurationError
from icetap.rest import (
    REST_SETTINGS,
    ApiKey,
    NoAccessError,
    OAuth2,
    Request,
    RestStream,
    RestTap,
    header,
    needed,
)
from tap_shopify import legacy_streams, streams
from tap_shopify.answers import RULES, seconds_to_rest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from icetap.rest import Answer, Auth, Client

TOKEN_HEADER = "X-Shopify-Access-Token"  # noqa: S105 -- a header's name
WARNING_DAYS = 90
ALL_ORDERS_DAYS = 60
_SHOP = re.compile(r"(?:https?://)?([a-z0-9][a-z0-9-]*)(?:\.myshopify\.com)?/?", re.IGNORECASE)
_START = "query { currentAppInstallation { accessScopes { handle } } }"


class _ClientCredentials(OAuth2):
    @override
    def put_token(self, request: Request, token: str, client: Client) -> None:
        request.put(header(TOKEN_HEADER), token)


class TapShopify(RestTap):
    """Reads one shop."""

    name = "tap-shopify"
    package_name = "icetap-tap-shopify"
    errors = RULES
    error_text = "$.errors[0].message"

    config_jsonschema: ClassVar[dict[str, Any]] = {
        "type": "object",
        "required": ["shop_domain"],
        "properties": {
            "shop_domain": {
                "type": "string",
                "title": "Shop",
                "description": "The shop's own address at Shopify: `acme` or `acme.myshopify.com`, not the one that its "
                "customers see.",
                "examples": ["acme.myshopify.com"],
            },
            "access_token": {
                "type": ["string", "null"],
                "secret": True,
                "title": "Access token",
                "description": "The Admin API access token of an app of the shop (`shpat_…`). Not needed with `client_id`.",
            },
            "client_id": {
                "type": ["string", "null"],
                "title": "Client ID",
                "description": "Of an app of the Dev Dashboard that is installed in the shop, in place of `access_token`.",
            },
            "client_secret": {
                "type": ["string", "null"],
                "secret": True,
                "title": "Client secret",
                "description": "The app's client secret; tokens are fetched with it, and renewed when they end.",
            },
            "api_version": {
                "type": "string",
                "pattern": r"^(20\d\d-(01|04|07|10)|unstable)$",
                "default": "2026-07",
                "title": "API version",
                "description": "Shopify serves each for a year, and then silently the oldest that is left; the log warns of "
                "both.",
            },
            "api": {
                "type": "string",
                "enum": ["graphql", "rest"],
                "default": "graphql",
                "title": "API",
                "description": "`graphql` has all streams. `rest` is Shopify's legacy API, with fewer streams, and columns "
                "under REST's names.",
            },
            "bulk_operations": {
                "type": "string",
                "enum": ["auto", "always", "never"],
                "default": "auto",
                "title": "Bulk operations",
                "description": "`auto` reads by a bulk operation what was not read for more than a day, and pages else.",
            },
            "bulk_poll_seconds": {
                "type": "number",
                "minimum": 0,
                "default": 1.0,
                "title": "Polling",
                "description": "How long to wait before a bulk operation's state is asked for again, in seconds; it grows "
                "up to 30.",
            },
            "bulk_timeout_seconds": {
                "type": "integer",
                "minimum": 0,
                "default": 3600,
                "title": "Bulk time-out",
                "description": "How long to wait for a bulk operation that does not move, in seconds: one of this run, which "
                "is then cancelled, or one of another program, which is not.",
            },
            "page_size": {
                "type": "integer",
                "minimum": 1,
                "maximum": 250,
                "default": 50,
                "title": "Page size",
                "description": "Objects in a page of GraphQL. Where Shopify finds a query too expensive, pages get smaller "
                "by themselves.",
            },
            "api_url": {
                "type": ["string", "null"],
                "format": "uri",
                "title": "API address",
                "description": "Another address than `https://<shop>.myshopify.com`: of a proxy, or of a test server.",
            },
            **REST_SETTINGS,
        },
    }

    def __init__(self, **kwargs: Any) -> None:
        self._served: str | None = None
        super().__init__(**kwargs)

    # --- where, and as whom -------------------------------------------------------------------------

    @override
    def url(self) -> str:
        match = _SHOP.fullmatch(self.config["shop_domain"].strip())
        if match is None:
            raise ConfigurationError(
                f"setting 'shop_domain': '{self.config['shop_domain']}' is no address of a shop at Shopify; "
                "expected 'acme' or 'acme.myshopify.com'. In the admin it stands in Settings > Domains."
            )
        return str(self.config.get("api_url") or f"https://{match[1].lower()}.myshopify.com")

    @override
    def make_auth(self) -> Auth:
        config = self.config
        if not config.get("client_id"):
            if not config.get("access_token"):
                raise ConfigurationError(
                    "nobody can sign in: give 'access_token', or 'client_id' and 'client_secret' of an app of the Dev Dashboard."
                )
            return ApiKey(header(TOKEN_HEADER), config["access_token"])
        secret = needed(config.get("client_secret"), setting="client_secret")
        return _ClientCredentials(
            "/admin/oauth/access_token",
            grant="client_credentials",
            fields={"client_id": config["client_id"], "client_secret": secret},
        )

    @override
    def declared_streams(self) -> Sequence[RestStream]:
        if self.config["api"] == "rest":
            return [declared(self) for declared in legacy_streams.STREAMS]
        return [declared(self) for declared in streams.STREAMS]

    # --- asking -------------------------------------------------------------------------------------

    def graphql(self, text: str, **variables: Any) -> Request:
        """Return the request for a query, or a mutation."""
        path = f"/admin/api/{self.config['api_version']}/graphql.json"
        return Request(path=path, method="POST", json={"query": text, "variables": variables})

    def pause(self, seconds: float) -> None:
        """Let the next request wait."""
        self.client.leave_alone(seconds)

    def note(self, answer: Answer) -> None:
        """Take note of what an answer says about limits and versions."""
        if (seconds := seconds_to_rest(answer)) > 0:
            self.pause(min(seconds, float(self.config["max_wait_seconds"])))
        served, asked = answer.headers.get("X-Shopify-API-Version"), self.config["api_version"]
        if served and served not in {asked, self._served}:
            self.logger.warning(
                "Shopify answers in the version %s, since it does not serve %s. Set 'api_version' to a version that it serves, "
                "so that columns do not change by themselves.",
                served,
                asked,
            )
        self._served = served or self._served

    # --- a run --------------------------------------------------------------------------------------

    @override
    def _run(self) -> None:
        if warning := version_warning(self.config["api_version"], datetime.now(UTC).date()):
            self.logger.warning("%s", warning)
        self._warn_of_hidden_orders()
        super()._run()

    def _warn_of_hidden_orders(self) -> None:
        """Say that orders older than 60 days are not shown to an app without the right `read_all_orders`."""
        if not any(
            name in self.streams and self.streams[name].selected for name in ("orders", "order_line_items")
        ):
            return
        start = self.config.get("start_date")
        if start and (datetime.now(UTC) - _instant(start)).days < ALL_ORDERS_DAYS:
            return
        try:
            document = self.client.send(self.graphql(_START), rules=()).document
        except NoAccessError:
            if self.config["on_no_access"] != "skip":
                raise
            return
        scopes = [each["handle"] for each in document["data"]["currentAppInstallation"]["accessScopes"]]
        if "read_all_orders" not in scopes:
            self.logger.warning(
                "The app lacks the right 'read_all_orders': Shopify shows it orders of the last %d days only, and says "
                "nothing of others.",
                ALL_ORDERS_DAYS,
            )


def _instant(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def version_warning(version: str, today: date) -> str | None:
    """Return what to say about a version that ends soon, or has ended; each is served for a year.

    https://shopify.dev/docs/api/usage/versioning, read 2026-11-21.
    """
    if version == "unstable":
        return "'api_version: unstable' changes without notice: columns may come and go."
    end = date(int(version[:4]) + 1, int(version[5:]), 1)
    left = (end - today).days
    if left <= 0:
        return (
            f"Shopify has stopped serving the version {version} on {end}: set 'api_version' to a later one."
        )
    if left <= WARNING_DAYS:
        return f"Shopify stops serving the version {version} on {end}, in {left} days: set 'api_version' to a later one."
    return None

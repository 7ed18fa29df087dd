"""A fake in Stripe's shape: lists newest first, events for 30 days, lists inside of objects cut after ten."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import ClassVar

from icetap.testing.api import PAGE_TRAPS, Call, FakeApi, Reply, Unrest
from icetap.testing.samples import Sample
from icetap.testing.subject import SECRET_CANARY

OWN = "acct_own"
KEPT_SECONDS = 30 * 86400
EMBEDDED = 10
SMALL_PAGE = 2
START = 1_767_225_600
"""2026-01-01T00:00:00Z."""

PATHS = {
    "charge": "charges",
    "customer": "customers",
    "subscription": "subscriptions",
    "invoice": "invoices",
    "invoiceitem": "invoiceitems",
    "invoice_payment": "invoice_payments",
    "payout": "payouts",
    "balance_transaction": "balance_transactions",
    "dispute": "disputes",
    "product": "products",
    "price": "prices",
    "plan": "plans",
    "coupon": "coupons",
    "promotion_code": "promotion_codes",
    "refund": "refunds",
    "payment_intent": "payment_intents",
    "setup_intent": "setup_intents",
    "credit_note": "credit_notes",
    "checkout.session": "checkout/sessions",
    "subscription_schedule": "subscription_schedules",
    "transfer": "transfers",
    "topup": "topups",
    "application_fee": "application_fees",
    "review": "reviews",
    "radar.early_fraud_warning": "radar/early_fraud_warnings",
    "tax_rate": "tax_rates",
    "shipping_rate": "shipping_rates",
    "file": "files",
    "file_link": "file_links",
    "event": "events",
}
CHILD_LISTS = {
    "invoice": ("lines", "line_item", "/v1/invoices/{}/lines"),
    "credit_note": ("lines", "credit_note_line_item", "/v1/credit_notes/{}/lines"),
    "subscription": ("items", "subscription_item", "/v1/subscription_items?subscription={}"),
    "transfer": ("reversals", "transfer_reversal", "/v1/transfers/{}/reversals"),
}


class RefusalError(Exception):
    """An answer with an error in Stripe's shape."""

    def __init__(self, status: int, message: str, **more: str) -> None:
        super().__init__(message)
        error = {"type": "invalid_request_error", "message": message, **more}
        self.reply = Reply({"error": error}, status=status)


class FakeStripe:
    """Objects and events of several accounts."""

    def __init__(self) -> None:
        self.api = FakeApi()
        self.accounts: dict[str, dict[str, dict[str, dict]]] = {}
        self.children: dict[str, list[dict]] = {}
        self.denied: set[str] = set()
        """Objects that the key may not read."""

        self.page_limit = 100
        """No page has more than this, whatever is asked for."""

        self.embedded = EMBEDDED
        self.fault = ""
        """What is wrong with pages, as in `icetap.testing.api.PAGE_TRAPS`."""

        self._expired: set[str] = set()

        self._events = 0
        self._found: dict[tuple, tuple[list[dict], dict[str, int]]] = {}
        """Lists that were asked for since the last change, with their objects' places."""

        for kind, path in PATHS.items():
            self.serve(kind, path)
        for kind, (name, _, path) in CHILD_LISTS.items():
            if "?" not in path:
                route = path.format("{id}")
                self._route(
                    route,
                    lambda call, kind=kind, name=name: self._paged(
                        self.children[call.groups["id"]], call=call
                    ),
                )
        self._route(
            "/v1/subscription_items",
            lambda call: self._paged(self.children[call.param("subscription")], call=call),
        )
        self._route("/v1/checkout/sessions/{id}/line_items", self._session_lines)
        self._route("/v1/account", lambda _: {"id": OWN, "object": "account"})
        self._route(
            "/v1/accounts",
            lambda call: self._paged([{"id": name} for name in self.accounts if name != OWN], call=call),
        )

    def now(self) -> int:
        """Return the time by Stripe's clock, in whole seconds."""
        return int(self.api.now().timestamp())

    def serve(self, kind: str, path: str) -> None:
        """Answer requests for a kind of object."""
        self._route(f"/v1/{path}", lambda call: self._list(kind, call))
        self._route(f"/v1/{path}/{{id}}", lambda call: self._retrieve(kind, call))

    # --- what a test does ---------------------------------------------------------------------------

    def put(self, kind: str, key: str, *, event: str | None = None, account: str = OWN, **fields) -> dict:
        """Keep an object; with `event`, tell of it as it is now."""
        objects = self.accounts.setdefault(account, {}).setdefault(kind, {})
        known = objects.get(key) or {
            "id": key,
            "object": kind,
            "created": self.now(),
        }
        objects[key] = {**known, **fields}
        self._found.clear()
        if event:
            self.tell(event, objects[key], account=account)
        return objects[key]

    def tell(self, event: str, payload: dict, *, account: str = OWN, at: int | None = None) -> None:
        """Keep an event."""
        self._events += 1
        created = at or self.now()
        self.put(
            "event",
            f"evt_{self._events}",
            account=account,
            created=created,
            type=event,
            api_version="2022-11-15",
            data={"object": dict(payload)},
        )

    def delete(self, kind: str, key: str, *, event: str, account: str = OWN, at: int | None = None) -> None:
        """Take an object away, and tell."""
        self.tell(event, self.accounts[account][kind].pop(key), account=account, at=at)
        self._found.clear()

    def give_children(self, kind: str, key: str, count: int, *, account: str = OWN) -> None:
        """Give an object a list of children; it embeds the first ten of them."""
        name, child, path = CHILD_LISTS[kind]
        found = [{"id": f"{key}_{number}", "object": child} for number in range(count)]
        self.children[key] = found
        embedded = {
            "object": "list",
            "has_more": count > self.embedded,
            "url": path.format(key),
            "data": found[: self.embedded],
        }
        self.put(kind, key, account=account, **{name: embedded})

    # --- what Stripe answers ------------------------------------------------------------------------

    def _route(self, path: str, answer) -> None:
        def checked(call: Call) -> object:
            if call.headers.get("authorization") != f"Bearer {SECRET_CANARY}":
                return Reply({"error": {"message": "Invalid API Key provided"}}, status=401)
            if not call.headers.get("stripe-version"):
                return Reply({"error": {"message": "no version was asked for"}}, status=400)
            try:
                return answer(call)
            except RefusalError as refusal:
                return refusal.reply

        self.api.route("GET", path, checked)

    def _objects(self, kind: str, call: Call) -> dict[str, dict]:
        if kind in self.denied:
            raise RefusalError(
                403,
                f"The provided key 'rk_test_{'*' * 99}abcd' does not have the required permissions for this endpoint on "
                f"account '{OWN}'. Having the 'rak_{kind}_read' permission would allow this request to continue.",
            )
        return self.accounts.get(call.headers.get("stripe-account", OWN), {}).get(kind, {})

    def _list(self, kind: str, call: Call) -> object:
        bounds = {
            name: int(call.param(f"created[{name}]"))
            for name in ("gte", "lt")
            if f"created[{name}]" in call.params
        }
        types = call.params.get("types[]", [])
        if len(types) > 20:
            raise RefusalError(400, "at most 20 types")
        objects = self._objects(kind, call)
        asked = (kind, call.headers.get("stripe-account"), *bounds.items(), *types, call.param("status"))
        if asked in self._found:
            return self._paged(*self._found[asked], call=call)
        oldest = self.now() - KEPT_SECONDS if kind == "event" else 0
        found = [
            one
            for one in objects.values()
            if one["created"] >= max(bounds.get("gte", 0), oldest)
            and one["created"] < bounds.get("lt", math.inf)
            and (not types or one["type"] in types)
            and (kind != "subscription" or call.param("status") == "all" or one.get("status") != "canceled")
        ]
        # Python's sort is stable: what came last within a second is the newest.
        found.reverse()
        found.sort(key=lambda one: -one["created"])
        self._found[asked] = found, _places(found)
        return self._paged(*self._found[asked], call=call)

    def _paged(self, found: list[dict], places: dict[str, int] | None = None, *, call: Call) -> object:
        size = int(call.param("limit", "10"))
        if not 1 <= size <= 100:
            raise RefusalError(400, "This value must be less than or equal to 100 (currently it is more).")
        size = min(size, self.page_limit)
        begin = 0
        if after := call.param("starting_after"):
            places = _places(found) if places is None else places
            if after not in places or self._expires(call):
                raise RefusalError(
                    400, f"No such object: '{after}'", code="resource_missing", param="starting_after"
                )
            begin = places[after] + 1 - (self.fault == "rows that move")
        page = found[begin : begin + size]
        is_empty = bool(begin) and self.fault == "an empty page in the middle"
        return {
            "object": "list",
            "url": call.path,
            "has_more": is_empty or begin + size < len(found),
            "data": [] if is_empty else [_shown(one) for one in page],
        }

    def _expires(self, call: Call) -> bool:
        """Whether a cursor does not hold; the first one of each list."""
        if self.fault != "an expired cursor" or call.path in self._expired:
            return False
        self._expired.add(call.path)
        return True

    @contextmanager
    def page_trap(self, name: str) -> Iterator[dict[str, object]]:
        """Let something be wrong with pages, which are small."""
        self.page_limit, self.fault, self._expired = SMALL_PAGE, name, set()
        try:
            yield {}
        finally:
            self.page_limit, self.fault = 100, ""

    def _retrieve(self, kind: str, call: Call) -> object:
        found = self._objects(kind, call).get(call.groups["id"])
        if found is None and kind == "customer":
            return {"id": call.groups["id"], "object": kind, "deleted": True}
        if found is None:
            raise RefusalError(
                404, f"No such {kind}: '{call.groups['id']}'", code="resource_missing", param="id"
            )
        return _shown(found)

    def _session_lines(self, call: Call) -> object:
        if call.groups["id"] == "cs_old":
            raise RefusalError(404, "This session is too old", code="resource_missing")
        found = [{"id": f"li_{number}", "object": "item", "amount_total": 5} for number in range(3)]
        return self._paged(found, call=call)


def _shown(one: dict) -> dict:
    """An invoice item calls its time of creation otherwise."""
    if one.get("object") != "invoiceitem":
        return one
    return {("date" if name == "created" else name): value for name, value in one.items()}


def _places(found: list[dict]) -> dict[str, int]:
    return {one["id"]: place for place, one in enumerate(found)}


INITIAL = 40


class MovingAccount:
    """An account whose objects change while it is read, as `Unrest` says; pages are small, so that there are many."""

    STREAMS: ClassVar = {
        "charges": ("id", "amount_refunded"),
        "customers": ("id", "balance"),
        "invoices": ("id", "amount_due"),
        "invoice_line_items": ("invoice", "id"),
    }
    """What is compared."""

    FIELDS: ClassVar = {"charge": "amount_refunded", "customer": "balance", "invoice": "amount_due"}
    """What changes."""

    def __init__(self, seed: int) -> None:
        self.fake = FakeStripe()
        self.fake.page_limit = 7
        self.unrest = Unrest(self.fake.api, seed, lambda _: self.change())
        self._made = 0
        self._told: dict[str, int] = {}
        for place in range(INITIAL):
            self.add(self.fake.now() - 3600 * (INITIAL - place))

    def add(self, created: int) -> None:
        """Add an object; the event of some is never told."""
        self._made += 1
        kind = self.unrest.random.choice(list(self.FIELDS))
        key = f"{kind}_{self._made}"
        made = self.fake.put(kind, key, created=created)
        if kind == "invoice":
            self.fake.give_children(kind, key, 1 + self._made % 12)
        if self.unrest.random.random() < 0.7:
            self.fake.tell(f"{kind}.created", made, at=created)

    def change(self) -> None:
        """Add, change or delete one or two objects, in one second sometimes."""
        at = int(self.unrest.time().timestamp())
        for _ in range(1 + self.unrest.random.randrange(2)):
            if self.unrest.random.random() < 0.3:
                self.add(at)
                continue
            kind = self.unrest.random.choice(list(self.FIELDS))
            objects = self.fake.accounts[OWN][kind]
            if not objects:
                continue
            key = self.unrest.random.choice(sorted(objects))
            # Events of one object are in the order of its changes.
            at = self._told[key] = max(at, objects[key]["created"], self._told.get(key, 0))
            if kind == "customer" and self.unrest.random.random() < 0.3:
                self.fake.delete(kind, key, event="customer.deleted", at=at)
            else:
                self._change(kind, key, at=at)

    def _change(self, kind: str, key: str, *, at: int) -> None:
        if kind == "invoice":
            self.fake.give_children(kind, key, len(self.fake.children[key]) + 1)
        value = self.unrest.random.randrange(10**6)
        self.fake.tell(f"{kind}.updated", self.fake.put(kind, key, **{self.FIELDS[kind]: value}), at=at)

    def expected(self, stream: str) -> list[tuple]:
        """Return the rows that a table of a stream should have, in the columns that are compared."""
        columns = self.STREAMS[stream]
        objects = self.fake.accounts[OWN]
        if stream == "invoice_line_items":
            return sorted((key, line["id"]) for key in objects["invoice"] for line in self.fake.children[key])
        return sorted(tuple(one.get(column) for column in columns) for one in objects[stream[:-1]].values())


_FAKES: dict[Path, FakeStripe] = {}
OTHERS = 3


def make(folder: Path, *, rows: int, canary: str) -> Sample:
    """Charges, and three of each other kind of object; nothing happened since."""
    fake = _FAKES[folder] = FakeStripe()
    for number in range(rows):
        fake.put(
            "charge",
            f"ch_{number}",
            created=START + number,
            amount=2000 + number,
            currency="usd",
            description=canary if number == 0 else None,
            billing_details={"email": None, "name": f"Ada {number}", "address": {"city": "Graz"}},
            metadata={"order": str(number)},
        )
    for kind in PATHS:
        for number in range(OTHERS if kind not in {"charge", "event"} else 0):
            fake.put(kind, f"{kind}_{number}", created=START + number)
    fake.embedded = SMALL_PAGE
    for kind in CHILD_LISTS:
        for number in range(OTHERS):
            fake.give_children(kind, f"{kind}_{number}", 3)
    return Sample(
        config=settings(fake),
        rows=_rows(rows),
        incremental=["charges", "customers", "products"],
        api=fake.api,
        requests=_requests(rows),
        page_traps={name: partial(fake.page_trap, name) for name in PAGE_TRAPS},
    )


def settings(fake: FakeStripe) -> dict[str, object]:
    """Return settings that lead to a fake."""
    return {
        "api_key": SECRET_CANARY,
        "base_url": fake.api.url,
        "requests_per_second": 1000,
        "timeout_seconds": 30,
    }


def _rows(charges: int) -> dict[str, int]:
    own = {path.replace("radar/", "").replace("/", "_"): OTHERS for path in PATHS.values()}
    own["invoice_items"] = own.pop("invoiceitems")
    lists = ("invoice_line_items", "credit_note_line_items", "subscription_items", "transfer_reversals")
    return {
        **own,
        "charges": charges,
        "events": 0,
        **dict.fromkeys(lists, OTHERS * 3),
        "checkout_session_line_items": OTHERS * 3,
        "payout_balance_transactions": OTHERS * OTHERS,
    }


def _requests(charges: int) -> tuple[int, int]:
    """A list each, one for the children of each parent, one for the right to events; then events, and lists of new objects."""
    without_events = ("balance_transactions", "files", "events")
    full = ("shipping_rates", "file_links")
    streams = len(PATHS)
    first = streams + max(1, math.ceil(charges / 100)) + (2 + len(CHILD_LISTS)) * OTHERS
    return first, 2 * (streams - len(without_events) - len(full)) + len(without_events) + len(full)


def change(folder: Path) -> dict[str, list[str]]:
    """Change the oldest of some objects, and add one."""
    fake = _FAKES[folder]
    changed = {
        "charges": ("charge", "ch_0", "charge.refunded", "charge.succeeded"),
        "customers": ("customer", "customer_0", "customer.updated", "customer.created"),
        "products": ("product", "product_0", "product.updated", "product.created"),
    }
    for kind, key, updated, created in changed.values():
        fake.put(kind, key, event=updated, description="changed")
        fake.put(kind, f"{kind}_new", event=created, description="new")
    return {stream: [key, f"{kind}_new"] for stream, (kind, key, _, _) in changed.items()}

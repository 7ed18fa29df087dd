"""A small shop's API and its connector for the conformance suite; see `icetap.testing.samples`."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from icetap.testing.api import PAGE_TRAPS, Call, FakeApi, Reply, Table
from icetap.testing.api.tables import by_cursor
from icetap.testing.samples import Sample
from icetap.testing.subject import SECRET_CANARY

START = datetime(2026, 1, 1, tzinfo=UTC)
ORDERS_PAGE, CUSTOMERS_PAGE = 500, 2

CONNECTOR = """
version: 1
id: shop
base_url: "{config.base_url}"
error_text: $.error.message
parameters:
  base_url: {required: true, format: uri}
  api_key: {title: API key, required: true, secret: true}
auth: {type: bearer, token: "{config.api_key}"}
streams:
  orders:
    primary_key: id
    request: {path: /orders, params: {sort: updated_at}}
    response: {records: "$.data[*]"}
    pagination:
      type: page
      page: {in: query, name: page}
      size: {in: query, name: per_page, value: 500}
    incremental: {replication_key: updated_at, start: {in: query, name: since}}
    schema: infer
  customers:
    primary_key: id
    request: {path: /customers}
    response: {records: "$.items[*]"}
    pagination:
      type: cursor
      token: {in: query, name: after}
      next: {last_record: id}
      has_more: $.has_more
      size: {in: query, name: limit, value: 2}
    child_context: {customer_id: $.id}
    schema:
      properties:
        id: {type: string}
        name: {type: [string, "null"]}
        balance: {type: [number, "null"]}
  notes:
    parent_stream: customers
    primary_key: [customer_id, id]
    request: {path: "/customers/{customer_id}/notes"}
    response: {records: $.notes}
    pagination: {type: link}
    schema: infer
"""


class Shop:
    """The API's records and routes."""

    def __init__(self, *, rows: int, canary: str) -> None:
        self.api = FakeApi()
        self.page_limit = ORDERS_PAGE
        self.fault = ""
        """What is wrong with pages, as in `icetap.testing.api.PAGE_TRAPS`; cursors are wrong once."""

        self._spoilt: set[str] = set()
        self.orders = Table(
            (
                {
                    "id": i,
                    "note": canary if i == 0 else f"note {i}",
                    "total": i / 4,
                    "tags": ["a"],
                    "updated_at": at(i),
                }
                for i in range(rows)
            ),
            order="updated_at",
        )
        self.customers = Table(
            {"id": f"c{i}", "name": canary if i == 0 else f"Customer {i}", "balance": 0.1} for i in range(5)
        )
        self.api.route("GET", "/orders", self.signed(self.list_orders))
        self.api.route("GET", "/customers", self.signed(self.list_customers))
        self.api.route("GET", "/customers/{id}/notes", self.signed(self.list_notes))

    @staticmethod
    def signed(answer):
        def checked(call: Call) -> object:
            if call.headers.get("authorization") != f"Bearer {SECRET_CANARY}":
                return Reply({"error": {"message": "who are you?"}}, status=401)
            return answer(call)

        return checked

    def list_orders(self, call: Call) -> object:
        size, page = min(int(call.param("per_page")), self.page_limit), int(call.param("page"))
        rows = self.orders.rows(self.orders.since(call, param="since", field="updated_at"))
        if self.fault == "an empty page in the middle":
            page -= page > 2
            rows = [] if self._spoils("orders", call, self.fault) else rows
        step = size - (self.fault == "rows that move")
        return {"data": rows[(page - 1) * step :][:size]}

    def list_customers(self, call: Call) -> object:
        after, size = call.param("after") or None, int(call.param("limit"))
        if self._spoils("customers", call, "an expired cursor"):
            return Reply({"error": {"message": "the cursor has expired"}}, status=400)
        if self._spoils("customers", call, "an empty page in the middle"):
            return {"items": [], "has_more": True}
        rows, more = by_cursor(self.customers.rows(), after=after, size=size)
        if after and self.fault == "rows that move":
            rows = [self.customers.records[after], *rows]
        return {"items": rows, "has_more": more}

    def list_notes(self, call: Call) -> object:
        """Two pages of one note each; the last customer has none."""
        customer, page = call.groups["id"], call.param("page")
        if customer == "c4":
            return {"notes": []}
        if self._spoils("notes", call, "an expired cursor"):
            return Reply({"error": {"message": "the page has expired"}}, status=410)
        first, second = {"id": 1, "text": "first"}, {"id": 2, "text": "second"}
        if page == "2":
            return {"notes": [first, second] if self.fault == "rows that move" else [second]}
        is_empty = self.fault == "an empty page in the middle" and not page
        link = f'<{self.api.url}{call.path}?page={1 if is_empty else 2}>; rel="next"'
        return Reply({"notes": [] if is_empty else [first]}, headers={"Link": link})

    def _spoils(self, stream: str, call: Call, fault: str) -> bool:
        """Whether this fault is set, and this is the stream's first page after the first."""
        is_later = call.param("after") or call.param("page") == "2"
        if self.fault != fault or not is_later or stream in self._spoilt:
            return False
        self._spoilt.add(stream)
        return True

    @contextmanager
    def page_trap(self, name: str) -> Iterator[dict[str, object]]:
        """Let something be wrong with pages, which are small."""
        self.page_limit, self.fault, self._spoilt = 20, name, set()
        try:
            yield {}
        finally:
            self.page_limit, self.fault = ORDERS_PAGE, ""


def at(seconds: int) -> str:
    return (START + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


_SHOPS: dict[Path, Shop] = {}


def make(folder: Path, *, rows: int, canary: str) -> Sample:
    """Orders with an `updated_at`, customers behind a cursor, and their notes behind links."""
    shop = _SHOPS[folder] = Shop(rows=rows, canary=canary)
    (folder / "shop.yaml").write_text(CONNECTOR)
    others = 3 + (4 * 2 + 1)
    return Sample(
        config={
            "connector": str(folder / "shop.yaml"),
            "base_url": shop.api.url,
            "api_key": SECRET_CANARY,
            "timeout_seconds": 30,
        },
        rows={"orders": rows, "customers": 5, "notes": 8},
        incremental=["orders"],
        api=shop.api,
        page_traps={name: partial(shop.page_trap, name) for name in PAGE_TRAPS},
        requests=(math.ceil(rows / ORDERS_PAGE) + 1 + others, 2 + others),
    )


def change(folder: Path) -> dict[str, list[int]]:
    """Change the first order and add one."""
    orders = _SHOPS[folder].orders
    last = max(orders.records)
    later = int(timedelta(days=30).total_seconds())
    orders.put({**orders.records[0], "note": "changed", "updated_at": at(later)})
    orders.put({**orders.records[1], "id": last + 1, "note": "new", "updated_at": at(later + 1)})
    return {"orders": [0, last + 1]}

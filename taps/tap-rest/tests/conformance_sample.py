"""A small shop's API and its connector for the conformance suite; see `icetap.testing.samples`."""

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

from icetap.testing.api import Call, FakeApi, Reply, Table
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
        size, page = int(call.param("per_page")), int(call.param("page"))
        return {
            "data": self.orders.page(page, size, self.orders.since(call, param="since", field="updated_at"))
        }

    def list_customers(self, call: Call) -> object:
        rows, more = by_cursor(
            self.customers.rows(), after=call.param("after") or None, size=int(call.param("limit"))
        )
        return {"items": rows, "has_more": more}

    def list_notes(self, call: Call) -> object:
        """Two pages of one note each; the last customer has none."""
        customer = call.groups["id"]
        if customer == "c4":
            return {"notes": []}
        if call.param("page") == "2":
            return {"notes": [{"id": 2, "text": "second"}]}
        link = f'<{self.api.url}{call.path}?page=2>; rel="next"'
        return Reply({"notes": [{"id": 1, "text": "first"}]}, headers={"Link": link})


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

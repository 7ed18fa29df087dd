"""A fake shop in Shopify's shape, and the sample for the conformance suite; see `icetap.testing.samples`."""

import json
import re
from bisect import bisect_right
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache, partial
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

import msgspec

from icetap.testing.api import PAGE_TRAPS, Call, FakeApi, Reply, Unrest
from icetap.testing.samples import Sample
from icetap.testing.subject import SECRET_CANARY

VERSION = "2026-07"
START = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=2)
TOKENS = re.compile(r'"(?:[^"\\]|\\.)*"|\.\.\.|\$?\w+|[{}()\[\]:!]')
CONDITION = re.compile(r"(\w+):(>=|<)?('[^']*'|\S+)")
ENCODE = msgspec.json.Encoder().encode


def written(time):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def at(seconds, *, start=None):
    return written((start or START) + timedelta(seconds=seconds))


def gid(kind, number):
    return f"gid://shopify/{kind}/{number}"


def money(amount, currency="EUR"):
    return {"shopMoney": {"amount": amount, "currencyCode": currency}, "presentmentMoney": None}


def line_item(number, *, order):
    return {
        "id": gid("LineItem", number),
        "quantity": 2,
        "sku": None,
        "variant": {"id": gid("ProductVariant", 31)},
        "originalUnitPriceSet": money("60.25"),
        "order": order,
    }


def number_of(row):
    return int(row["id"].rpartition("/")[2])


def by_number(row):
    return [number_of(row)]


def by_update(row):
    return [row["updatedAt"], number_of(row)]


def order(number, *, lines=2, sales=1, seconds=0.0, note=None, total="120.50"):
    return {
        "id": gid("Order", number),
        "name": f"#{number}",
        "note": note,
        "tags": ["vip", 'quo"te 🎁'],
        "test": False,
        "createdAt": at(0),
        "updatedAt": at(seconds),
        "customer": {"id": gid("Customer", 1)} if number % 2 else None,
        "currentTotalPriceSet": money(total),
        "totalPriceSet": money(total),
        "lineItems": [line_item(number * 1000 + i, order=number) for i in range(lines)],
        "shippingLines": [
            {"id": gid("ShippingLine", number), "title": "Post", "originalPriceSet": money("4.9")}
        ],
        "refunds": [],
        "transactions": [{"id": gid("OrderTransaction", number), "kind": "SALE", "amountSet": money(total)}][
            :sales
        ],
        "fulfillments": [],
        "metafields": [],
    }


def product(number, *, seconds=0.0):
    return {
        "id": gid("Product", number),
        "title": f"Product {number}",
        "createdAt": at(0),
        "updatedAt": at(seconds),
        "options": [{"id": gid("ProductOption", number), "name": "Size", "position": 1, "values": ["S"]}],
        "variantsCount": {"count": 1},
        "metafields": [
            {
                "id": gid("Metafield", number),
                "namespace": "custom",
                "key": "care",
                "type": "text",
                "value": "cold",
            }
        ],
    }


class Selection(list):
    """Fields that a query asks for: name, arguments, and a selection of what is inside of each."""

    pages = False
    """Whether these are the fields of a connection."""


class Parser:
    """As much of GraphQL as the tap speaks: fields, arguments, fragments."""

    def __init__(self, text, variables):
        self.tokens, self.variables = TOKENS.findall(text), variables

    def document(self):
        while self.tokens[0] != "{":
            self.arguments() if self.tokens[0] == "(" else self.tokens.pop(0)
        return self.selection()

    def selection(self):
        fields = Selection()
        self.tokens.pop(0)
        while (token := self.tokens.pop(0)) != "}":
            if token == "...":
                del self.tokens[:2]
                fields += self.selection()
                continue
            arguments = self.arguments() if self.tokens[0] == "(" else {}
            fields.append((token, arguments, self.selection() if self.tokens[0] == "{" else None))
        fields.pages = any(name in {"nodes", "edges"} for name, _, _ in fields)
        return fields

    def arguments(self):
        found = {}
        self.tokens.pop(0)
        while (name := self.tokens.pop(0)) != ")":
            self.tokens.pop(0)
            found[name] = self.value()
            if self.tokens[0] == "!":
                self.tokens.pop(0)
        return found

    def value(self):
        token = self.tokens.pop(0)
        if token == "[":
            values = []
            while self.tokens[0] != "]":
                values.append(self.value())
            self.tokens.pop(0)
            return values
        if token.startswith("$"):
            return self.variables.get(token[1:])
        return json.loads(token) if token.startswith('"') or token.isdigit() else token


class Shop:
    """The shop's objects, both of its APIs, and another server that hands out the files of bulk operations."""

    def __init__(self):
        self.api = FakeApi()
        self.files = FakeApi(traps_of=self.api)
        self.roots = {
            name: []
            for name in (
                *("orders", "draftOrders", "abandonedCheckouts", "customers", "products", "productVariants"),
                *("collections", "inventoryItems", "locations", "events"),
            )
        }
        self.scopes = ["read_orders", "read_all_orders"]
        self.denied = set()
        self.version = VERSION
        self.operations = []
        self.contents = {}
        self._found = {}
        """What was asked for before: the rows that there were, those that fit, and the places of these."""

        self.points = 2000.0
        self.max_first = 250
        self.outcomes = []
        """How the next bulk operations end, when not well: `(status, error code)`."""

        self.null_cursor = False
        self.max_running = 5
        self.is_stuck = False
        """Whether bulk operations stay as they are."""

        self.cancelled = []
        self.page_limit = 250
        self.fault = ""
        """What is wrong with pages, as in `icetap.testing.api.PAGE_TRAPS`."""

        self._spoilt = set()
        self.api.route("POST", "/admin/api/{version}/graphql.json", self.graphql)
        self.api.route(
            "POST",
            "/admin/oauth/access_token",
            lambda _: {"access_token": SECRET_CANARY, "expires_in": 86399},
        )
        self.api.route("GET", "/admin/api/{version}/{resource}.json", self.rest)
        self.files.route("GET", "/files/{number}", self.file)

    def close(self):
        self.api.close()
        self.files.close()

    # --- GraphQL

    def graphql(self, call: Call):
        if call.headers.get("x-shopify-access-token") != SECRET_CANARY:
            return Reply({"errors": "[API] Invalid API key or access token"}, status=401)
        given = call.json
        fields = Parser(given["query"], given["variables"]).document()
        name, arguments, selection = fields[0]
        cost = {
            "requestedQueryCost": 100,
            "throttleStatus": {
                "maximumAvailable": 2000.0,
                "currentlyAvailable": self.points,
                "restoreRate": 1000.0,
            },
        }
        reply = {"data": None, "extensions": {"cost": cost}}
        code = self.error(name, arguments)
        if code:
            reply["errors"] = [{"message": code.lower(), "extensions": {"code": code}}]
        else:
            reply["data"] = {name: self.answer(name, arguments, selection)}
        return Reply(reply, headers={"X-Shopify-API-Version": self.version})

    def error(self, name, arguments):
        if self.points < 100:
            self.points += 100
            return "THROTTLED"
        if name in self.denied:
            return "ACCESS_DENIED"
        if arguments.get("after") and self.spoils("an expired cursor", name):
            return "BAD_REQUEST"
        return "MAX_COST_EXCEEDED" if (arguments.get("first") or 0) > self.max_first else None

    def spoils(self, fault, what):
        """Whether this fault is set, and has not befallen this yet."""
        if self.fault != fault or what in self._spoilt:
            return False
        self._spoilt.add(what)
        return True

    @contextmanager
    def page_trap(self, name):
        """Let something be wrong with pages, which are small."""
        self.page_limit, self.fault, self._spoilt = 2, name, set()
        try:
            yield {"bulk_operations": "never"}
        finally:
            self.page_limit, self.fault = 250, ""

    def answer(self, name, arguments, selection):
        if name == "currentAppInstallation":
            return {"accessScopes": [{"handle": scope} for scope in self.scopes]}
        if name == "bulkOperationRunQuery":
            return self.start(arguments)
        if name == "bulkOperations":
            return {"nodes": self.operations[: -1 - arguments["first"] : -1]}
        if name == "currentBulkOperation":
            return self.operations[-1] if self.operations else None
        if name == "bulkOperationCancel":
            self.cancelled.append(arguments["id"])
            return {"bulkOperation": {"id": arguments["id"], "status": "CANCELING"}}
        if name == "shop":
            return self.resolved({"id": gid("Shop", 1), "name": "Acme", "updatedAt": at(0)}, selection)
        if name == "node":
            return self.node(arguments["id"], selection)
        rows, keys = self.found(name, arguments)
        return self.connection(rows, arguments, selection, keys=keys)

    def found(self, name, arguments):
        """The rows that fit and what they are sorted by; looked for once as long as the shop has the same rows."""
        key, rows = (name, arguments.get("query"), arguments.get("sortKey")), self.roots[name]
        known = self._found.get(key)
        if known is None or known[0] != rows:
            place = by_update if arguments.get("sortKey") == "UPDATED_AT" else by_number
            fitting = sorted(self.fitting(rows, arguments), key=place)
            known = list(rows), fitting, [place(row) for row in fitting]
            self._found = {key: known}
        return known[1:]

    def fitting(self, rows, arguments):
        for field, sign, text in CONDITION.findall(arguments.get("query") or ""):
            key = re.sub(r"_(\w)", lambda match: match[1].upper(), field)
            if sign and not text.startswith("'"):
                continue  # the colons of a time without quotes: the condition is not understood, and ignored
            rows = [row for row in rows if fits(row.get(key), sign, text.strip("'"))]
        return rows

    def connection(self, rows, arguments, selection, *, keys=None):
        """A page; its cursor holds what its last row is sorted by, so that rows may come and go."""
        keys = [by_number(row) for row in rows] if keys is None else keys
        after = arguments.get("after")
        if after and self.spoils("an empty page in the middle", f"{selection} {after.strip()}"):
            return {"nodes": [], "pageInfo": {"hasNextPage": True, "endCursor": f"{after} "}}
        first = bisect_right(keys, json.loads(after)) - (self.fault == "rows that move") if after else 0
        page = rows[first : first + min(arguments["first"], self.page_limit)]
        more = len(rows) > first + len(page)
        inner = next(inner for name, _, inner in selection if name == "nodes")
        cursor = json.dumps(keys[first + len(page) - 1]) if page and not self.null_cursor else None
        return {
            "nodes": [self.resolved(row, inner) for row in page],
            "pageInfo": {"hasNextPage": more, "endCursor": cursor},
        }

    def resolved(self, row, selection):
        found = {}
        for name, arguments, inner in selection:
            value = row.get(name)
            if inner and inner.pages:
                value = self.connection(value or [], arguments, inner)
            elif inner and isinstance(value, list):
                value = [self.resolved(each, inner) for each in value]
            elif inner and value is not None:
                value = self.resolved(value, inner)
            found[name] = value
        return found

    def node(self, wanted, selection):
        for operation in self.operations:
            if operation["id"] == wanted:
                return self.polled(operation)
        for row in self.everything():
            if row["id"] == wanted:
                return self.resolved(row, selection)
        return None

    def everything(self):
        for rows in self.roots.values():
            for row in rows:
                yield row
                for value in row.values():
                    yield from (
                        (each for each in value if isinstance(each, dict) and "id" in each)
                        if isinstance(value, list)
                        else ()
                    )

    # --- bulk operations

    def start(self, arguments):
        running = [each for each in self.operations if each["status"] in {"CREATED", "RUNNING"}]
        if len(running) >= self.max_running:
            for each in running:
                self.polled(each)
            return {
                "bulkOperation": None,
                "userErrors": [{"message": "already in progress", "code": "OPERATION_IN_PROGRESS"}],
            }
        number = len(self.operations) + 1
        root, given, selection = Parser(arguments["query"], {}).document()[0]
        rows, _ = self.found(root, given)
        if given.get("sortKey") and "updated_at" in (given.get("query") or ""):
            rows = rows[::2]  # Shopify drops rows without a word
        lines = []
        for row in rows:
            self.write(lines, row, selection[0][2][0][2], parent=None)
        if arguments.get("groupObjects") != "true":
            lines.sort(key=lambda line: "__parentId" in line)
        self.contents[str(number)] = [ENCODE(line) for line in lines]
        operation = {
            "id": gid("BulkOperation", number),
            "query": arguments["query"],
            "status": "CREATED",
            "errorCode": None,
            "objectCount": "0",
        }
        operation |= {"url": None, "partialDataUrl": None, "denied": root in self.denied}
        self.operations.append(operation)
        return {"bulkOperation": {"id": operation["id"], "status": "CREATED"}, "userErrors": []}

    def write(self, lines, row, selection, *, parent):
        plain = [field for field in selection if not (field[2] and field[2].pages)]
        line = self.resolved(row, plain)
        if parent:
            line["__parentId"] = parent
        lines.append(line)
        for name, _, inner in selection:
            if inner and inner.pages:
                for each in row.get(name) or ():
                    self.write(lines, each, inner[0][2][0][2], parent=row["id"])

    def polled(self, operation):
        number = operation["id"].rpartition("/")[2]
        if self.is_stuck:
            return dict(operation)
        if operation["status"] == "CREATED":
            operation["status"] = "RUNNING"
        elif operation["status"] == "RUNNING":
            status, code = self.outcomes.pop(0) if self.outcomes else ("COMPLETED", None)
            lines = self.contents[number]
            url = f"{self.files.url}/files/{number}" if lines else None
            operation |= {"status": status, "errorCode": code, "objectCount": str(len(lines)), "url": url}
        return dict(operation)

    def file(self, call: Call):
        if "x-shopify-access-token" in call.headers:
            return Reply(b"the token has leaked", status=400)
        lines = self.contents[call.groups["number"]]
        return Reply(b"\n".join([*lines, b""]), media_type="application/jsonl")

    # --- REST

    def rest(self, call: Call):
        if call.headers.get("x-shopify-access-token") != SECRET_CANARY:
            return Reply({"errors": "[API] Invalid API key or access token"}, status=401)
        resource = call.groups["resource"]
        size, token = int(call.param("limit", "50")), call.param("page_info")
        if token and set(call.params) - {"page_info", "limit", "fields"}:
            return Reply({"errors": {"page_info": "cannot be passed with other parameters"}}, status=400)
        rows = self.rest_rows(resource, call, is_first=not token)
        if rows is None:
            return Reply({"errors": {"ids": "Required parameter missing or invalid"}}, status=422)
        place = by_update if "updated_at" in (call.param("order") or token) else by_number
        order, since, after = (
            json.loads(token) if token else (call.param("order"), call.param("updated_at_min"), [])
        )
        rows = sorted(
            (row for row in rows if not since or instant(row["updatedAt"]) >= instant(since)), key=place
        )
        first = bisect_right([place(row) for row in rows], after)
        page = rows[first : first + size]
        headers = {"X-Shopify-Shop-Api-Call-Limit": "1/40", "X-Shopify-API-Version": self.version}
        if len(rows) > first + size:
            following = quote(json.dumps([order, since, place(page[-1])]))
            url = f"{self.api.url}{call.path}?limit={size}&page_info={following}"
            headers["Link"] = f'<{self.api.url}{call.path}?page_info=x>; rel="previous", <{url}>; rel="next"'
        return Reply({resource: [rest_row(resource, row) for row in page]}, headers=headers)

    def rest_rows(self, resource, call, *, is_first):
        """What a resource has, before pages; None for a request that Shopify refuses."""
        items = self.roots["inventoryItems"]
        if resource == "inventory_items":
            ids = call.param("ids").split(",")
            return (
                [row for row in items if str(number_of(row)) in ids]
                if 1 <= len(ids) <= 100 and ids[0]
                else None
            )
        if resource == "inventory_levels":
            place = call.param("location_ids")
            levels = (level for item in items for level in item["inventoryLevels"])
            return [level for level in levels if level["location"]["id"].endswith(f"/{place}")]
        if resource == "orders" and is_first and call.param("status") != "any":
            return []
        return self.roots.get(resource, [])


@cache
def instant(text):
    return datetime.fromisoformat(text)


def rest_row(resource, row):
    local = instant(row["updatedAt"]).astimezone(UTC) + timedelta(hours=1)
    found = {
        "id": number_of(row),
        "admin_graphql_api_id": row["id"],
        "updated_at": local.strftime("%Y-%m-%dT%H:%M:%S+01:00"),
    }
    if resource == "inventory_levels":
        return {
            "inventory_item_id": number_of(row["item"]),
            "location_id": number_of(row["location"]),
            "updated_at": found["updated_at"],
        }
    if resource == "inventory_items":
        found["sku"] = row.get("sku")
    if resource == "orders":
        found |= {"total_price": row["totalPriceSet"]["shopMoney"]["amount"], "landing_site": "/"}
        found["line_items"] = [
            {"id": int(each["id"].rpartition("/")[2]), "price": "60.25", "sku": None}
            for each in row["lineItems"]
        ]
    return found


def fits(value, sign, text):
    if value is None:
        return False
    if not sign:
        return str(value).lower() == text.lower()
    value, bound = instant(value), instant(text)
    return value >= bound if sign == ">=" else value < bound


INITIAL = 40


class MovingShop:
    """A shop whose objects change while it is read, as `Unrest` says; pages are small, so that there are many."""

    STREAMS: ClassVar = {
        "orders": ("id", "total_price"),
        "order_line_items": ("order_id", "id"),
        "products": ("id", "title"),
        "inventory_items": ("id", "sku"),
    }
    """What is compared."""

    def __init__(self, seed: int):
        self.fake = Shop()
        self.unrest = Unrest(self.fake.api, seed, lambda _: self.change())
        self._ghosts = []
        """Products that are gone, and that the search still finds until something else changes."""

        for place in range(INITIAL):
            before = timedelta(hours=INITIAL - place)
            for root in ("orders", "products", "inventoryItems"):
                self.add(root, self.unrest.time() - before)

    def settings(self, **more):
        """Settings that lead to it."""
        return {**settings(self.fake, page_size=7, **more), "lookback_seconds": None}

    def add(self, root, time):
        """Add an object to one of the roots."""
        number = 1 + max((number_of(row) for row in self.fake.roots[root]), default=0)
        made = {
            "orders": lambda: order(number, lines=1 + number % 3),
            "products": lambda: product(number),
            "inventoryItems": lambda: {"id": gid("InventoryItem", number), "sku": "0", "inventoryLevels": []},
        }[root]()
        self.fake.roots[root].append({**made, "createdAt": written(time), "updatedAt": written(time)})

    def change(self):
        """Add, change or delete one or two objects, in one second sometimes."""
        some, time = self.unrest.random, self.unrest.time()
        while self._ghosts:
            self.fake.roots["products"].remove(self._ghosts.pop())
        for _ in range(1 + some.randrange(2)):
            root = some.choice(["orders", "products", "inventoryItems"])
            rows = self.fake.roots[root]
            if some.random() < 0.3:
                self.add(root, time)
            elif root == "products" and some.random() < 0.3:
                self._delete(some.choice(rows), time)
            else:
                place = some.randrange(len(rows))
                rows[place] = self._changed(rows[place], root, time)

    def _delete(self, row, time):
        event = {"id": gid("BasicEvent", number_of(row)), "action": "destroy", "subjectType": "PRODUCT"}
        event |= {"subjectId": row["id"], "createdAt": written(time), "updatedAt": written(time)}
        self.fake.roots["events"].append(event)
        if row not in self._ghosts:
            self._ghosts.append(row)

    def _changed(self, row, root, time):
        value = str(self.unrest.random.randrange(10**6))
        if root == "orders":
            lines = len(row["lineItems"])
            more = [line_item(number_of(row) * 1000 + lines, order=number_of(row))]
            fields = {"totalPriceSet": money(f"{value}.50"), "lineItems": row["lineItems"] + more}
        else:
            fields = {"title" if root == "products" else "sku": value}
        return {**row, **fields, "updatedAt": written(time)}

    def expected(self, stream):
        """The rows that a table of a stream should have, in the columns that are compared."""
        roots = self.fake.roots
        if stream == "order_line_items":
            lines = ((row, line) for row in roots["orders"] for line in row["lineItems"])
            return sorted((number_of(row), number_of(line)) for row, line in lines)
        if stream == "orders":
            sums = ((number_of(row), row["totalPriceSet"]["shopMoney"]["amount"]) for row in roots["orders"])
            return sorted((number, Decimal(amount)) for number, amount in sums)
        root, field = {"products": ("products", "title"), "inventory_items": ("inventoryItems", "sku")}[
            stream
        ]
        return sorted((number_of(row), row[field]) for row in roots[root] if row not in self._ghosts)


# --- the sample

_SHOPS: dict[Path, Shop] = {}
HOUR = 3600
WHOLE_ORDERS = 1000
"""So many orders of the sample have a second line and a sale; of more, a run takes only longer."""


def make(folder: Path, *, rows: int, canary: str) -> Sample:
    """Orders with their lines and sales; some products, and some objects of every other kind."""
    shop = _SHOPS[folder] = Shop()
    step = HOUR / max(rows, 1)
    whole = min(rows, WHOLE_ORDERS)
    shop.roots["orders"] = [
        order(
            1 + i,
            lines=2 if i < whole else 1,
            sales=int(i < whole),
            seconds=round(i * step),
            note=canary if i == 0 else None,
        )
        for i in range(rows)
    ]
    shop.roots["products"] = [product(1 + i, seconds=i) for i in range(3)]
    some_of_each(shop)
    return Sample(
        config=settings(shop, page_size=250),
        rows={
            **dict.fromkeys(OTHERS, OF_EACH),
            "shop": 1,
            "orders": rows,
            "order_line_items": rows + whole,
            "order_transactions": whole,
            "products": 3,
            "product_metafields": 3,
        },
        incremental=["orders", "products"],
        api=shop.api,
        page_traps={name: partial(shop.page_trap, name) for name in PAGE_TRAPS},
        # Scopes; 19 streams by bulk operations; refunds and fulfillments by pages of orders; locations and the shop.
        # Then: scopes; 19 streams by one page; three of them look for deletions; what cannot be filtered as before.
        requests=(1 + 19 * 3 + 2 * max(1, -(-rows // 250)) + 2, 1 + 19 + 3 + 2 * 3 + 2),
    )


OF_EACH = 3
OTHERS = (
    *("order_refunds", "fulfillments", "draft_orders", "abandoned_checkouts", "customers"),
    *("product_variants", "collections", "collection_products", "inventory_items", "inventory_levels"),
    *("variant_metafields", "order_metafields", "customer_metafields", "collection_metafields"),
    *("events", "deleted_records", "locations"),
)


def some_of_each(shop):
    """Give the first order some of everything that an order may have, and the shop some objects of every other kind."""
    times = {"createdAt": at(0), "updatedAt": at(0)}

    def some(kind, **more):
        return [{"id": gid(kind, number), **times, **more} for number in range(1, 1 + OF_EACH)]

    shop.roots["orders"][0] |= {
        "refunds": some("Refund", refundLineItems=[{"id": gid("RefundLineItem", 1), "quantity": 1}]),
        "fulfillments": some("Fulfillment", fulfillmentLineItems=[]),
        "metafields": some("Metafield", key="gift"),
    }
    levels = [
        {**level, "location": {"id": gid("Location", place)}, "item": {"id": gid("InventoryItem", 1)}}
        for place, level in enumerate(some("InventoryLevel"), 1)
    ]
    subject = {"subjectId": gid("Product", 9), "subjectType": "PRODUCT"}
    shop.roots |= {
        "draftOrders": some("DraftOrder"),
        "abandonedCheckouts": some("AbandonedCheckout"),
        "customers": some("Customer", amountSpent={"amount": "12.50", "currencyCode": "EUR"}, metafields=[]),
        "productVariants": some("ProductVariant", price="60.25", metafields=[]),
        "collections": some("Collection", products=[], metafields=[]),
        "inventoryItems": some("InventoryItem", inventoryLevels=[]),
        "locations": some("Location", name="Porto", isActive=True),
        "events": some("BasicEvent", action="destroy", **subject),
    }
    for root in ("customers", "productVariants", "collections"):
        shop.roots[root][0]["metafields"] = some("Metafield", key="care")
    shop.roots["collections"][0]["products"] = some("Product")
    shop.roots["inventoryItems"][0]["inventoryLevels"] = levels


def settings(shop, **more):
    return {
        "shop_domain": "acme",
        "access_token": SECRET_CANARY,
        "api_url": shop.api.url,
        "api_version": VERSION,
        "lookback_seconds": 0,
        "bulk_poll_seconds": 0.01,
        "timeout_seconds": 30,
        **more,
    }


def change(folder: Path) -> dict[str, list[int]]:
    """Change the first order and product and add one of each."""
    shop = _SHOPS[folder]
    changed = {}
    for name, made in (("orders", order), ("products", product)):
        rows = shop.roots[name]
        now = (datetime.now(UTC) - START).total_seconds()
        new = len(rows) + 1
        rows[0] = made(1, seconds=now)
        rows.append(made(new, seconds=now + 1))
        changed[name] = [1, new]
    return changed

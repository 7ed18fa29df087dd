"""Shopify's streams, read from a shop in Shopify's shape."""

import importlib.util
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from icetap.testing.api import TRAPS, Trap
from icetap.testing.conformance.rest import quick
from icetap.testing.in_process import discover, run_tap
from tap_shopify import objects
from tap_shopify.streams import STREAMS
from tap_shopify.tap import TapShopify, version_warning

_spec = importlib.util.spec_from_file_location(
    "shopify_fake", Path(__file__).parent / "conformance_sample.py"
)
fake = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(fake)
REST_ROWS = {"orders": 300, "products": 2, "locations": 3, "inventory_levels": 3, "inventory_items": 1}


@pytest.fixture
def shop():
    made = fake.Shop()
    yield made
    made.close()


def run(shop, *names, state=None, **settings):
    config = fake.settings(shop, **settings)
    catalog = discover(TapShopify, config)
    for stream in catalog["streams"]:
        for each in stream["metadata"]:
            if each["breadcrumb"] in ([], ()):
                each["metadata"]["selected"] = stream["tap_stream_id"] in names
    return run_tap(quick(TapShopify), config, catalog=catalog, state=state)


def queries(shop):
    return [call.json for call in shop.api.calls if call.method == "POST"]


@pytest.mark.parametrize("bulk", ["always", "never"])
def test_an_order_arrives_whole_by_either_way(shop, bulk):
    shop.roots["orders"] = [fake.order(5501, lines=60), fake.order(5502, lines=0, seconds=1)]

    done = run(shop, "orders", bulk_operations=bulk).good()

    first, second = done.records("orders")
    assert (first["id"], first["admin_graphql_api_id"]) == (5501, "gid://shopify/Order/5501")
    assert first["customer_id"] == 1
    assert first["total_price"] == Decimal("120.50")
    assert first["total_price_set"]["shop_money"] == {"amount": Decimal("120.50"), "currency_code": "EUR"}
    assert [line["id"] for line in first["line_items"]] == [5501000 + i for i in range(60)]
    assert [line["original_price"] for line in first["shipping_lines"]] == [Decimal("4.9")]
    assert (second["line_items"], second["customer_id"]) == ([], None)


def test_both_ways_give_the_same_records(shop):
    shop.roots["orders"] = [fake.order(i, seconds=i) for i in range(1, 30)]

    ways = [
        run(shop, "orders", "order_line_items", bulk_operations=way).good() for way in ("always", "never")
    ]

    for stream, count in (("orders", 29), ("order_line_items", 58)):
        found = [sorted(way.records(stream), key=lambda record: record["id"]) for way in ways]
        assert found[0] == found[1]
        assert len(found[0]) == count


def test_rows_that_share_a_time_at_a_page_border_all_arrive(shop):
    shop.roots["orders"] = [fake.order(i, seconds=7) for i in range(1, 12)]

    done = run(shop, "orders", bulk_operations="never", page_size=3).good()

    assert sorted(record["id"] for record in done.records("orders")) == list(range(1, 12))


def test_a_bulk_query_has_no_order_and_times_are_quoted(shop):
    start = fake.at(-3 * 24 * 3600)
    shop.roots["orders"] = [fake.order(1, seconds=-10 * 24 * 3600), fake.order(2), fake.order(3, seconds=1)]

    done = run(shop, "orders", start_date=start).good()

    assert [record["id"] for record in done.records("orders")] == [2, 3]
    (text,) = {
        each["variables"]["query"] for each in queries(shop) if "bulkOperationRunQuery" in each["query"]
    }
    assert "sortKey" not in text
    assert f"updated_at:>='{start}'" in text


def test_a_second_run_reads_pages_of_what_changed(shop):
    shop.roots["products"] = [fake.product(i, seconds=i) for i in range(1, 5)]
    first = run(shop, "products").good()
    before = len(shop.api.calls)
    shop.roots["products"][1] = fake.product(2, seconds=(datetime.now(UTC) - fake.START).total_seconds())

    second = run(shop, "products", state=first.state).good()

    assert [record["id"] for record in second.records("products")] == [2]
    assert len(shop.api.calls) - before == 2  # deletions, and one page


def test_what_was_deleted_is_told_once_and_does_not_come_back(shop):
    shop.roots["products"] = [fake.product(1), fake.product(2)]
    first = run(shop, "products").good()
    now = fake.at((datetime.now(UTC) - fake.START).total_seconds())
    shop.roots["events"] = [
        {
            "id": "gid://shopify/BasicEvent/9",
            "action": "destroy",
            "createdAt": now,
            "updatedAt": now,
            "subjectId": "gid://shopify/Product/2",
            "subjectType": "PRODUCT",
        }
    ]
    shop.roots["products"][1] = fake.product(2, seconds=(datetime.now(UTC) - fake.START).total_seconds())

    second = run(shop, "products", "deleted_records", state=first.state).good()

    (deleted,) = second.records("products")
    assert (deleted["id"], deleted["_sdc_deleted_at"]) == (2, now)
    assert [record["subject_id"] for record in second.records("deleted_records")] == [2]


@pytest.mark.parametrize(
    "outcome", [("FAILED", "INTERNAL_SERVER_ERROR"), ("FAILED", "TIMEOUT"), ("EXPIRED", None)]
)
def test_an_operation_that_is_given_up_is_read_in_halves_and_its_file_is_not(shop, outcome):
    shop.roots["orders"] = [fake.order(i, seconds=i) for i in range(1, 5)]
    shop.outcomes = [outcome]

    done = run(shop, "orders").good()

    assert sorted(record["id"] for record in done.records("orders")) == [1, 2, 3, 4]
    assert len(shop.operations) == 3
    assert len(shop.files.calls) == 1  # of the half that has orders


def test_another_operation_is_waited_for_and_never_cancelled(shop):
    shop.roots["orders"] = [fake.order(1)]
    shop.max_running = 1
    shop.operations.append({"id": "gid://shopify/BulkOperation/0", "status": "CREATED", "errorCode": None})
    shop.contents["0"] = []

    done = run(shop, "orders").good()

    assert len(done.records("orders")) == 1
    assert "waiting for another bulk operation" in done.log
    assert not any("Cancel" in each["query"] for each in queries(shop))


@pytest.mark.parametrize("version", ["2026-07", "2025-10"], ids=["a list of operations", "the current one"])
def test_an_operation_whose_start_was_not_answered_is_found_and_not_started_again(shop, version):
    shop.roots["orders"] = [fake.order(1)]
    lost = fake.Reply(b"<html>Bad gateway</html>", status=502, media_type="text/html")
    shop.api.trap = Trap(
        "the answer to the start",
        lambda _api, call, reply: lost if b"RunQuery" in call.body else reply,
        is_before=False,
        always=True,
    )

    done = run(shop, "orders", api_version=version).good()

    assert len(done.records("orders")) == 1
    assert len(shop.operations) == 1


def test_an_operation_that_nobody_can_say_anything_of_is_started_again(shop):
    shop.roots["orders"] = [fake.order(1)]
    shop.denied = {"bulkOperations"}
    lost = fake.Reply(status=502)
    first = [lost]
    shop.api.trap = Trap(
        "the answer to the first start",
        lambda _api, call, reply: first.pop() if first and b"RunQuery" in call.body else reply,
        is_before=False,
        always=True,
    )

    done = run(shop, "orders").good()

    assert len(done.records("orders")) == 1
    assert len(shop.operations) == 2


def test_an_operation_that_never_ends_is_an_error_and_is_cancelled(shop):
    shop.roots["orders"] = [fake.order(1)]
    shop.is_stuck = True

    done = run(shop, "orders", bulk_timeout_seconds=0)

    assert "CREATED with 0 objects, has not moved for 0 s" in str(done.error)
    assert "'bulk_timeout_seconds'" in str(done.error)
    assert shop.cancelled == ["gid://shopify/BulkOperation/1"]


def test_another_programs_operation_that_never_ends_is_an_error_and_is_left_alone(shop):
    shop.is_stuck, shop.max_running = True, 1
    shop.operations.append({"id": "gid://shopify/BulkOperation/0", "query": "{}", "status": "RUNNING"})

    done = run(shop, "orders", bulk_timeout_seconds=0)

    assert "another bulk operation of this app has not moved" in str(done.error)
    assert shop.cancelled == []


def test_what_was_deleted_after_a_first_run_was_cut_off_is_known_in_the_next(shop):
    shop.roots["products"] = [fake.product(1), fake.product(2)]
    states = [one["value"] for one in run(shop, "products").good().of("STATE")]
    begun = next(state for state in states if state["bookmarks"].get("products"))
    shop.roots["products"].pop()
    now = fake.at((datetime.now(UTC) - fake.START).total_seconds())
    event = {"id": "gid://shopify/BasicEvent/9", "action": "destroy", "createdAt": now, "updatedAt": now}
    shop.roots["events"] = [{**event, "subjectId": "gid://shopify/Product/2", "subjectType": "PRODUCT"}]

    rest = run(shop, "products", state=begun).good()

    found = {one["id"]: one.get("_sdc_deleted_at") is not None for one in rest.records("products")}
    assert found == {1: False, 2: True}


def test_a_file_that_lacks_lines_is_an_error(shop):
    shop.roots["orders"] = [fake.order(1), fake.order(2)]
    whole = shop.file
    shop.files.route(
        "GET",
        "/files/{number}",
        lambda call: fake.Reply(whole(call).body.rpartition(b'{"id"')[0], media_type="text/plain"),
    )

    done = run(shop, "orders", max_retries=1)

    assert "Shopify counts 8" in str(done.error)
    assert done.records("orders") == []


def test_the_token_does_not_go_to_the_host_of_the_file(shop):
    shop.roots["orders"] = [fake.order(1)]

    run(shop, "orders").good()

    assert ["x-shopify-access-token" in call.headers for call in shop.files.calls] == [False]


def test_points_that_are_used_up_are_waited_for(shop):
    shop.roots["customers"] = [{"id": "gid://shopify/Customer/1", "updatedAt": fake.at(0)}]
    shop.points = 50.0

    done = run(shop, "customers", bulk_operations="never").good()

    assert len(done.records("customers")) == 1
    assert len(queries(shop)) == 2
    first, second = [call.at for call in shop.api.calls]
    assert second - first >= 0.05


def test_a_query_that_costs_too_much_is_asked_in_smaller_pages(shop):
    shop.roots["products"] = [fake.product(i, seconds=i) for i in range(1, 30)]
    shop.max_first = 10

    done = run(shop, "products", bulk_operations="never", page_size=50).good()

    assert sorted(record["id"] for record in done.records("products")) == list(range(1, 30))
    assert [each["variables"]["first"] for each in queries(shop)] == [50, 25, 12, 6, 6, 6, 6, 6]


def test_more_pages_without_a_cursor_are_an_error(shop):
    shop.roots["products"] = [fake.product(i) for i in range(1, 9)]
    shop.null_cursor = True

    done = run(shop, "products", bulk_operations="never", page_size=3)

    assert "says that there is more" in str(done.error)


def test_a_missing_right_is_named_and_may_be_skipped(shop):
    shop.roots["products"] = [fake.product(1)]
    shop.denied = {"customers"}

    failed = run(shop, "customers", "products", bulk_operations="never")
    skipped = run(shop, "customers", "products", bulk_operations="never", on_no_access="skip").good()

    assert "'read_customers'" in str(failed.error)
    assert "protected customer data" in str(failed.error)
    assert len(skipped.records("products")) == 1


def test_the_right_for_a_single_field_is_named(shop):
    """An order's customer is one that the right to read orders does not show."""
    denied = {"message": "Access denied for customer field. Required access: `read_customers` access scope."}
    denied["extensions"] = {"code": "ACCESS_DENIED"}
    shop.roots["orders"] = [fake.order(1)]
    shop.scopes = ["read_all_orders"]
    shop.api.trap = Trap(
        "a field",
        lambda _api, call, reply: fake.Reply({"errors": [denied]}) if b"orders(" in call.body else reply,
        always=True,
        is_before=False,
    )

    done = run(shop, "orders", bulk_operations="never")

    assert "The app needs the right 'read_customers'" in str(done.error)


def test_a_right_that_a_bulk_operation_lacks_ends_it_at_once(shop):
    shop.roots["orders"] = [fake.order(1)]
    shop.outcomes = [("FAILED", "ACCESS_DENIED")]

    done = run(shop, "orders")

    assert "The app needs the right 'read_orders'" in str(done.error)
    assert len(shop.operations) == 1


def test_hidden_orders_are_warned_of(shop):
    shop.scopes = ["read_orders"]

    done = run(shop, "orders").good()
    recent = run(shop, "orders", start_date=(datetime.now(UTC) - timedelta(days=9)).isoformat()).good()

    assert "'read_all_orders'" in done.log
    assert "'read_all_orders'" not in recent.log


@pytest.mark.parametrize(
    ("version", "says"),
    [
        pytest.param("2026-07", None, id="served for long"),
        pytest.param("2026-01", "in 41 days", id="ends soon"),
        pytest.param("2024-01", "has stopped serving", id="ended"),
        pytest.param("unstable", "without notice", id="unstable"),
    ],
)
def test_a_version_that_ends_is_warned_of(version, says):
    found = version_warning(version, date(2026, 11, 21))

    assert found is None if says is None else says in found


def test_an_answer_in_another_version_is_warned_of_once(shop):
    shop.version = "2026-01"

    done = run(shop, "orders", "products", api_version="2024-01").good()

    assert done.log.count("Shopify answers in the version 2026-01") == 1


@pytest.mark.parametrize(
    ("domain", "url"),
    [
        ("acme", "https://acme.myshopify.com"),
        ("ACME.myshopify.com", "https://acme.myshopify.com"),
        ("https://acme.myshopify.com/", "https://acme.myshopify.com"),
        ("acme.example.org", None),
        ("acme.myshopify.com.example.org", None),
        ("acme@example", None),
    ],
)
def test_the_token_goes_to_shopify_only(domain, url):
    tap = TapShopify(config={"shop_domain": domain, "access_token": "t"})
    if url is None:
        with pytest.raises(Exception, match="shop_domain"):
            tap.url()
    else:
        assert tap.url() == url


@pytest.mark.parametrize(
    ("given", "lacking"), [({}, "'access_token', or 'client_id'"), ({"client_id": "app"}, "'client_secret'")]
)
def test_ways_to_sign_in_are_named_when_none_is_whole(shop, given, lacking):
    done = run(shop, "orders", access_token=None, **given)

    assert lacking in str(done.error)


def test_client_credentials_fetch_a_token(shop):
    shop.roots["orders"] = [fake.order(1)]

    done = run(shop, "orders", access_token=None, client_id="app", client_secret="secret").good()

    assert len(done.records("orders")) == 1
    assert shop.api.calls[0].path == "/admin/oauth/access_token"
    assert shop.api.calls[0].form["grant_type"] == "client_credentials"


@pytest.mark.parametrize("bulk", ["always", "never"])
def test_a_token_that_ends_in_mid_run_is_fetched_anew(shop, bulk):
    shop.roots["products"] = [fake.product(i) for i in range(1, 10)]
    ended = fake.Reply({"errors": "[API] Invalid API key or access token"}, status=401)
    shop.api.trap = Trap("an old token", lambda *_: ended, on=(3,))
    app = {"access_token": None, "client_id": "app", "client_secret": "secret"}

    done = run(shop, "products", bulk_operations=bulk, page_size=3, **app).good()

    assert len(done.records("products")) == 9
    assert [call.path for call in shop.api.calls].count("/admin/oauth/access_token") == 2


def test_rest_follows_links_and_asks_for_all_orders_since_the_bookmark(shop):
    shop.roots["orders"] = [fake.order(i, seconds=i) for i in range(1, 601)]

    first = run(shop, "orders", api="rest").good()
    before = len(shop.api.calls)
    second = run(shop, "orders", api="rest", state=first.state).good()

    records = first.records("orders")
    assert len({record["id"] for record in records}) == len(records) == 600
    assert records[0]["total_price"] == Decimal("120.50")
    assert records[0]["line_items"][0]["price"] == Decimal("60.25")
    assert records[0]["landing_site"] == "/"
    assert [record["id"] for record in second.records("orders")] == [600]
    asked = [call for call in shop.api.calls[before:] if call.method == "GET"]
    assert [call.param("updated_at_min") for call in asked] == [fake.at(600)]


def test_rest_asks_for_inventory_items_by_a_hundred_ids_each_once_wherever_they_are_stocked(shop):
    times = {"createdAt": fake.at(0), "updatedAt": fake.at(0)}
    shop.roots["locations"] = [{"id": fake.gid("Location", place), **times} for place in (1, 2)]
    for number in range(1, 151):
        item = {"id": fake.gid("InventoryItem", number), "sku": f"sku {number}", **times}
        levels = [
            {"id": fake.gid("InventoryLevel", number * 10 + place), "item": item, "location": each, **times}
            for place, each in enumerate(shop.roots["locations"])
        ]
        shop.roots["inventoryItems"].append({**item, "inventoryLevels": levels})

    done = run(shop, "inventory_items", "inventory_levels", api="rest").good()

    records = done.records("inventory_items")
    assert sorted(record["id"] for record in records) == list(range(1, 151))
    assert records[0]["sku"] == "sku 1"
    assert {"ids", "location_id"}.isdisjoint(done.schema("inventory_items"))
    assert {"ids", "location_id"}.isdisjoint(records[0])
    assert len(done.records("inventory_levels")) == 300
    asked = [call.param("ids").count(",") + 1 for call in shop.api.calls if "inventory_items" in call.path]
    assert asked == [100, 50]


@pytest.mark.parametrize("name", TRAPS)
def test_rest_gets_out_of_every_trap_with_every_record(shop, name):
    shop.roots["orders"] = [fake.order(i, seconds=i) for i in range(1, 301)]
    shop.roots["products"] = [fake.product(1), fake.product(2)]
    fake.some_of_each(shop)
    shop.api.trap = TRAPS[name]()

    done = run(shop, *REST_ROWS, api="rest", timeout_seconds=1 if name == "a slow answer" else 30).good()

    assert {stream: len(done.records(stream)) for stream in REST_ROWS} == REST_ROWS
    assert shop.api.trap.spoiled


def test_bulk_is_for_what_has_no_connection_inside_of_a_list():
    by_pages = [stream.name for stream in STREAMS if not objects.fits_bulk(stream.object_name)]

    assert by_pages == ["order_refunds", "fulfillments"]

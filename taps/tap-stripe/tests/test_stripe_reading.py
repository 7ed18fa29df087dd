"""What the tap brings from a fake in Stripe's shape: changes, deletes, whole lists, accounts, and words for missing rights."""

import copy
import functools
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from icetap.connectors import connector_named, find_connectors
from icetap.testing.api import Reply, Trap
from icetap.testing.in_process import discover, run_tap
from icetap.testing.samples import load_sample
from icetap.testing.subject import SECRET_CANARY
from tap_stripe.streams import STREAMS
from tap_stripe.tap import API_VERSION, TapStripe

SAMPLE = load_sample(connector_named("tap-stripe", find_connectors(Path(__file__).parent)))
OLD = SAMPLE.START


@functools.cache
def catalog_of(is_platform):
    """The streams are declared, so discovery asks nobody."""
    return discover(TapStripe, {"api_key": "sk_none", "include_connected_accounts": is_platform})


class Account:
    """A fake account and a tap that reads it."""

    def __init__(self) -> None:
        self.stripe = SAMPLE.FakeStripe()
        self.config = {
            "api_key": SECRET_CANARY,
            "base_url": self.stripe.api.url,
            "requests_per_second": 1000,
            "max_retries": 0,
        }

    def read(self, *streams: str, state=None, **settings):
        config = {**self.config, **settings}
        catalog = copy.deepcopy(catalog_of(bool(settings.get("include_connected_accounts"))))
        for entry in catalog["streams"]:
            if entry["tap_stream_id"] not in streams:
                for one in entry["metadata"]:
                    one["metadata"]["selected"] = False
        before = len(self.stripe.api.calls)
        done = run_tap(TapStripe, config, catalog=catalog, state=state)
        self.asked = self.stripe.api.calls[before:]
        return done


@pytest.fixture
def account():
    found = Account()
    yield found
    found.stripe.api.close()


def test_an_old_object_that_changed_comes_once_as_it_is_now(account):
    account.stripe.put("charge", "ch_1", created=OLD, amount=100, amount_refunded=0)
    first = account.read("charges").good()
    for refunded in (10, 20):
        account.stripe.put("charge", "ch_1", event="charge.refunded", amount_refunded=refunded)
    account.stripe.put("charge", "ch_1", amount_refunded=30)

    second = account.read("charges", state=first.state).good()

    assert [(one["id"], one["amount_refunded"]) for one in second.records("charges")] == [("ch_1", 30)]
    assert [call.path for call in account.asked] == ["/v1/events", "/v1/charges", "/v1/charges/ch_1"]


def test_a_dispute_brings_its_charge_again(account):
    account.stripe.put("charge", "ch_1", created=OLD, disputed=False)
    first = account.read("charges").good()
    account.stripe.put("charge", "ch_1", disputed=True)
    account.stripe.put("dispute", "dp_1", event="charge.dispute.created", charge="ch_1")

    second = account.read("charges", state=first.state).good()

    assert [one["disputed"] for one in second.records("charges")] == [True]


def test_a_deleted_object_comes_marked_with_what_it_was(account):
    account.stripe.put("customer", "cus_1", created=OLD, email="ada@example.org")
    first = account.read("customers").good()
    account.stripe.delete("customer", "cus_1", event="customer.deleted")

    second = account.read("customers", state=first.state).good()

    (gone,) = second.records("customers")
    assert gone["email"] == "ada@example.org"
    assert gone["_sdc_deleted_at"] is not None
    assert gone["created"] == "2026-01-01T00:00:00Z"


def test_an_object_that_is_gone_before_its_event_is_read_comes_marked(account):
    account.stripe.put("customer", "cus_1", created=OLD)
    first = account.read("customers").good()
    account.stripe.put("customer", "cus_1", event="customer.updated", email="ada@example.org")
    del account.stripe.accounts[SAMPLE.OWN]["customer"]["cus_1"]

    (gone,) = account.read("customers", state=first.state).good().records("customers")

    assert (gone["email"], gone["_sdc_deleted_at"] is not None) == ("ada@example.org", True)


def test_a_cancelled_subscription_is_no_deleted_one(account):
    account.stripe.put("subscription", "sub_1", created=OLD, status="active")
    first = account.read("subscriptions").good()
    account.stripe.put("subscription", "sub_1", event="customer.subscription.deleted", status="canceled")

    (found,) = account.read("subscriptions", state=first.state).good().records("subscriptions")
    again = account.read("subscriptions").good().records("subscriptions")

    assert found["status"] == "canceled"
    assert "_sdc_deleted_at" not in found
    assert [one["status"] for one in again] == ["canceled"], "a first run leaves cancelled ones out"


def test_lists_inside_of_objects_are_read_to_their_end_and_their_rows_too(account):
    account.stripe.put("invoice", "in_1", created=OLD)
    account.stripe.give_children("invoice", "in_1", 230)
    account.stripe.put("subscription", "sub_1", created=OLD)
    account.stripe.give_children("subscription", "sub_1", 25)

    done = account.read("invoices", "invoice_line_items", "subscription_items").good()

    assert len(done.records("invoices")[0]["lines"]["data"]) == 230
    assert len({one["id"] for one in done.records("invoice_line_items")}) == 230
    assert {one["invoice"] for one in done.records("invoice_line_items")} == {"in_1"}
    assert len({one["id"] for one in done.records("subscription_items")}) == 25


@pytest.mark.parametrize("hydrated", [True, False], ids=["asked for anew", "the event's copy"])
def test_fields_that_versions_move_are_filled(account, hydrated):
    parent = {"type": "subscription_details", "subscription_details": {"subscription": "sub_1"}}
    account.stripe.put("invoice", "in_0", created=OLD)
    first = account.read("invoices").good()
    account.stripe.put("invoice", "in_0", event="invoice.paid", parent=parent, amount_paid=3)

    second = account.read("invoices", state=first.state, hydrate_events=hydrated).good()

    assert [(one["subscription"], one["amount_paid"]) for one in second.records("invoices")] == [("sub_1", 3)]
    assert len(account.asked) == (3 if hydrated else 2)


def test_the_version_goes_with_every_request(account):
    account.stripe.put("charge", "ch_1", event="charge.updated")

    account.read("charges").good()

    assert {call.headers["stripe-version"] for call in account.asked} == {API_VERSION}


def test_a_missing_right_is_named_and_no_part_of_the_key_is(account):
    account.stripe.denied = {"subscription"}

    done = account.read("subscriptions")

    assert "rak_subscription_read" in str(done.error)
    assert "'api_key'" in str(done.error)
    assert "***" not in str(done.error) + done.log


def test_without_the_right_to_events_recent_objects_come_again_with_a_warning(account):
    recent = int(time.time()) - 5 * 86400
    account.stripe.put("charge", "ch_1", created=recent, amount=1)
    first = account.read("charges").good()
    account.stripe.put("charge", "ch_1", event="charge.updated", amount=2)
    account.stripe.denied = {"event"}

    second = account.read("charges", state=first.state).good()

    assert [one["amount"] for one in second.records("charges")] == [2]
    assert "rak_event_read" in second.log
    assert "changes and deletes cannot be seen" in second.log


def test_a_missing_right_to_events_is_told_of_in_the_first_run_and_once(account):
    account.stripe.put("charge", "ch_1", created=OLD)
    account.stripe.denied = {"event"}

    first = account.read("charges", "customers").good()

    assert len(first.records("charges")) == 1
    assert first.log.count("Later runs will not see changes") == 1
    assert "rak_event_read" in first.log


def test_a_state_older_than_the_events_reads_everything_again(account):
    account.stripe.put("charge", "ch_1", created=OLD)
    first = account.read("charges").good()
    state = first.state
    long_ago = datetime.now(UTC) - timedelta(days=31)
    state["bookmarks"]["charges"]["replication_key_value"] = long_ago.isoformat()

    second = account.read("charges", state=state).good()

    assert [one["id"] for one in second.records("charges")] == ["ch_1"]
    assert "Reading everything again" in second.log
    assert second.state["bookmarks"]["charges"] != state["bookmarks"]["charges"]


def test_a_first_run_that_was_cut_off_goes_on_and_learns_what_changed_meanwhile(account):
    start = datetime.now(UTC) - timedelta(days=75)
    for days in (1, 40, 70):
        account.stripe.put("charge", f"ch_{days}", created=int(time.time()) - days * 86400, amount=1)
    whole = account.read("charges", start_date=start.isoformat()).good()
    states = [one["value"]["bookmarks"].get("charges", {}) for one in whole.of("STATE")]
    half = next(state for state in states if state.get("read_until"))
    account.stripe.put("charge", "ch_70", event="charge.updated", amount=2)

    rest = account.read(
        "charges", state={"bookmarks": {"charges": half}}, start_date=start.isoformat()
    ).good()

    assert [one["id"] for one in rest.records("charges")] == ["ch_40", "ch_1", "ch_70"]
    assert "read_until" not in rest.state["bookmarks"]["charges"]


def test_what_was_deleted_after_a_first_run_was_cut_off_is_known_in_the_next(account):
    for number in range(2):
        account.stripe.put("customer", f"cus_{number}", created=OLD)
    states = [one["value"] for one in account.read("customers").good().of("STATE")]
    begun = next(state for state in states if state["bookmarks"].get("customers"))
    account.stripe.delete("customer", "cus_1", event="customer.deleted")

    rest = account.read("customers", state=begun).good()

    found = {one["id"]: one.get("_sdc_deleted_at") is not None for one in rest.records("customers")}
    assert found == {"cus_0": False, "cus_1": True}


def test_lines_that_a_loader_has_not_got_come_though_it_has_their_invoices(account):
    """A loader prints each stream's part of the state when its rows are in: the lines' part may be behind."""
    account.stripe.put("invoice", "in_1", created=OLD)
    account.stripe.give_children("invoice", "in_1", 3)
    whole = account.read("invoices", "invoice_line_items").good()
    begun = next(one["value"] for one in whole.of("STATE") if one["value"]["bookmarks"].get("invoices"))
    behind = {**whole.state["bookmarks"], "invoice_line_items": begun["bookmarks"]["invoice_line_items"]}

    rest = account.read("invoices", "invoice_line_items", state={"bookmarks": behind}).good()

    assert len(rest.records("invoice_line_items")) == 3


def test_connected_accounts_are_read_each_from_its_own_place(account):
    one = account.stripe
    one.put("product", "gold", created=OLD, description="own")
    one.put("product", "gold", created=OLD, description="theirs", account="acct_2")
    first = account.read("products", include_connected_accounts=True).good()
    one.put("product", "gold", created=OLD, description="late", account="acct_3")
    one.put("product", "gold", event="product.updated", description="new", account="acct_2")

    second = account.read("products", include_connected_accounts=True, state=first.state).good()

    def found(done):
        return [(each["account_id"], each["description"]) for each in done.records("products")]

    assert found(first) == [("acct_own", "own"), ("acct_2", "theirs")]
    assert found(second) == [("acct_2", "new"), ("acct_3", "late")]
    assert first.of("SCHEMA")[0]["key_properties"] == ["account_id", "id"]


def test_a_connected_account_that_has_taken_the_right_away_is_left_out_and_the_others_are_read(account):
    for name in ("acct_own", "acct_2", "acct_3"):
        account.stripe.put("product", "gold", created=OLD, account=name)
    refused = Reply({"error": {"message": "The account was disconnected"}}, status=403)
    account.stripe.api.trap = Trap(
        "one account",
        lambda _api, call, reply: refused if call.headers.get("stripe-account") == "acct_2" else reply,
        always=True,
        is_before=False,
    )

    first = account.read("products", include_connected_accounts=True).good()
    account.stripe.api.trap = None
    second = account.read("products", include_connected_accounts=True, state=first.state).good()

    assert [one["account_id"] for one in first.records("products")] == ["acct_own", "acct_3"]
    assert "the account acct_2 is left out" in first.log
    assert [one["account_id"] for one in second.records("products")] == ["acct_2"]


def test_one_connected_account_can_be_read_instead(account):
    account.stripe.put("product", "gold", created=OLD, account="acct_2")

    done = account.read("products", account_id="acct_2").good()

    assert [one["id"] for one in done.records("products")] == ["gold"]
    assert "account_id" not in done.records("products")[0]


def test_fields_to_expand_of_a_stream_that_is_none_are_refused_with_the_nearest_name(account):
    done = account.read("charges", expand={"chargess": ["customer"]})

    assert "setting 'expand': there is no stream 'chargess'; did you mean 'charges'?" in str(done.error)


def test_money_keeps_every_digit(account):
    account.stripe.put(
        "price", "p_1", created=OLD, unit_amount=9_007_199_254_740_993, unit_amount_decimal="0.123456789012"
    )

    (found,) = account.read("prices").good().records("prices")

    assert (found["unit_amount"], found["unit_amount_decimal"]) == (9_007_199_254_740_993, "0.123456789012")


def test_children_that_stripe_has_forgotten_are_counted_and_skipped(account):
    account.stripe.put("checkout.session", "cs_old", created=OLD)
    account.stripe.put("checkout.session", "cs_new", created=OLD + 1)

    done = account.read("checkout_session_line_items").good()

    assert {one["checkout_session"] for one in done.records("checkout_session_line_items")} == {"cs_new"}
    assert "1 parts skipped" in done.log


def test_no_stream_asks_for_more_kinds_of_events_than_allowed():
    assert [one.name for one in STREAMS if len(getattr(one, "events", ())) > 20] == []


def test_events_of_any_shape_need_no_new_columns(account):
    before = int(time.time()) - 60
    account.stripe.tell("charge.updated", {"id": "ch_1", "amount": 1}, at=before)
    account.stripe.tell("customer.updated", {"id": "cus_1", "address": {"city": "Graz"}}, at=before)

    done = account.read("events").good()

    assert len(done.records("events")) == 2
    assert len(done.of("SCHEMA")) == 1


EMAIL, NOTE = "canary@example.org", "canary of a note"
LINE = {
    "description": EMAIL,
    "metadata": {"email": EMAIL, "kind": "a"},
    "pricing": {"type": "canary type", "unit_amount_decimal": "1"},
    "unknown_to_the_schema": {"note": NOTE},
}
HIDING = {
    "description": "hash",
    "metadata.email": "hash",
    "pricing.type": "redact",
    "unknown_to_the_schema.note": "redact",
}


@pytest.fixture
def invoiced(account):
    account.stripe.put("invoice", "in_1", created=OLD)
    account.stripe.give_children("invoice", "in_1", 12)
    for line in account.stripe.children["in_1"]:
        line.update(LINE)
    return account


@pytest.mark.parametrize("has_columns", [True, False], ids=["as-declared", "under-new-names"])
@pytest.mark.parametrize("selected", [["invoices"], []], ids=["with-its-parent", "alone"])
def test_what_is_hidden_in_a_list_is_hidden_in_the_rows_that_are_made_of_it(invoiced, selected, has_columns):
    masks = {f"lines.data[].{path}": mask for path, mask in HIDING.items()}
    renamed = {} if has_columns else {"invoice_line_items": {"rename": {"description": "told"}}}

    done = invoiced.read(
        *selected, "invoice_line_items", masks={"invoices": masks}, mask_key="k" * 32, streams=renamed
    ).good()

    rows = done.records("invoice_line_items")
    assert len(rows) == 12
    assert "canary" not in done.stdout + done.log
    for row in rows:
        assert row["metadata"] == {"email": row["description" if has_columns else "told"], "kind": "a"}
        assert row["pricing"] == {"type": None, "unit_amount_decimal": "1"}
        assert row["unknown_to_the_schema"] == {"note": None}
    for invoice in done.records("invoices"):
        assert [line["id"] for line in invoice["lines"]["data"]] == [row["id"] for row in rows]


@pytest.mark.parametrize(
    "masks",
    [{"lines": "redact"}, {"lines": "drop"}, {"lines.data[].*": "redact"}, {"*": "hash", "id": "keep"}],
    ids=["whole", "dropped", "all-parts", "everything"],
)
def test_rows_of_a_list_that_is_hidden_as_a_whole_keep_a_hash_of_their_key(invoiced, masks):
    settings = {"masks": {"invoices": masks}, "mask_key": "k" * 32}
    done = invoiced.read("invoice_line_items", **settings).good()

    rows = done.records("invoice_line_items")
    assert "canary" not in done.stdout
    assert len({row["id"] for row in rows}) == 12
    assert {row["invoice"] for row in rows} == {"in_1"}
    assert not any("in_1_" in row["id"] for row in rows)


def test_a_list_that_is_hidden_as_a_whole_wants_a_key_for_the_ids_of_its_rows(invoiced):
    run = invoiced.read("invoice_line_items", masks={"invoices": {"lines": "redact"}})

    assert "its key column 'id' is a copy of 'lines.data[].id' of stream 'invoices'" in str(run.error)


@pytest.mark.parametrize(
    "masks",
    [
        {"invoices": {"lines.data[].*": "hash"}, "invoice_line_items": {"*": "keep"}},
        {"invoices": {"lines*": "hash", "lines": "keep"}},
        {"invoices": {"lines.data[].*": "hash", "lines.data[].description": "keep"}},
    ],
    ids=["own-line", "list-kept", "part-kept"],
)
def test_rows_of_a_list_show_what_a_line_of_theirs_or_of_the_list_s_keeps(invoiced, masks):
    done = invoiced.read("invoice_line_items", masks=masks, mask_key="k" * 32).good()

    assert {row["description"] for row in done.records("invoice_line_items")} == {EMAIL}


@pytest.mark.parametrize(
    "hidden",
    ["parent", "parent.subscription_details.subscription", "parent.*"],
    ids=["around", "itself", "pattern"],
)
def test_what_is_hidden_where_a_column_is_filled_from_is_hidden_in_the_column(account, hidden):
    parent = {"type": "subscription_details", "subscription_details": {"subscription": "sub_canary"}}
    account.stripe.put("invoice", "in_1", created=OLD, parent=parent)

    done = account.read("invoices", masks={"invoices": {hidden: "redact"}}).good()

    assert done.records("invoices")[0]["subscription"] is None
    assert "sub_canary" not in done.stdout

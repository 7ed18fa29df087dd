"""Stripe's objects, one declaration each: https://docs.stripe.com/api, read 2026-11-21.

`events` names what tells of a change (https://docs.stripe.com/api/events/types, at most 20 a stream). A stream without
any is read again as far back as `lookback` says. `nested` names lists inside of records that the API cuts after ten.
"""

# ruff: noqa: RUF012 -- declarations

from __future__ import annotations

from datetime import timedelta

from tap_stripe.children import ChildStream, NestedStream
from tap_stripe.objects import Filled
from tap_stripe.stream import StripeStream


def told(subject: str, changes: str) -> tuple[str, ...]:
    """Return the names of the events that tell of some changes."""
    return tuple(f"{subject}.{change}" for change in changes.split())


def of_the_first_item(name: str) -> Filled:
    """Return a time that a subscription's items have since 2025-03-31.basil, and it had itself before."""
    return Filled(f"$.items.data[0].{name}", is_time=True)


class Charges(StripeStream):
    name = "charges"
    object_name = "charge"
    path = "/v1/charges"
    events = (
        *told("charge", "captured expired failed pending refunded succeeded updated"),
        *told("charge.dispute", "created updated closed funds_reinstated funds_withdrawn"),
    )


class Customers(StripeStream):
    name = "customers"
    object_name = "customer"
    path = "/v1/customers"
    events = told("customer", "created updated deleted")


class Subscriptions(StripeStream):
    name = "subscriptions"
    object_name = "subscription"
    path = "/v1/subscriptions"
    params = {"status": "all"}
    nested = ("items",)
    child_context = {"subscription": "$.id"}
    filled = {name: of_the_first_item(name) for name in ("current_period_start", "current_period_end")}
    events = told(
        "customer.subscription",
        "created updated deleted paused resumed pending_update_applied pending_update_expired",
    )
    is_kept_when_deleted = True


class SubscriptionItems(NestedStream):
    name = "subscription_items"
    object_name = "subscription_item"
    parent = "subscriptions"
    list_name = "items"


class Invoices(StripeStream):
    name = "invoices"
    object_name = "invoice"
    path = "/v1/invoices"
    nested = ("lines",)
    child_context = {"invoice": "$.id"}
    filled = {"subscription": Filled("$.parent.subscription_details.subscription")}
    events = told(
        "invoice",
        "created updated deleted finalized finalization_failed marked_uncollectible overdue paid "
        "payment_action_required payment_failed payment_succeeded sent voided will_be_due",
    )


class InvoiceLineItems(NestedStream):
    name = "invoice_line_items"
    object_name = "line_item"
    parent = "invoices"
    list_name = "lines"
    primary_keys = ("invoice", "id")


class InvoiceItems(StripeStream):
    name = "invoice_items"
    object_name = "invoiceitem"
    path = "/v1/invoiceitems"
    events = told("invoiceitem", "created updated deleted")


class InvoicePayments(StripeStream):
    name = "invoice_payments"
    object_name = "invoice_payment"
    path = "/v1/invoice_payments"
    events = told("invoice_payment", "paid")
    lookback = timedelta(days=30)


class Payouts(StripeStream):
    name = "payouts"
    object_name = "payout"
    path = "/v1/payouts"
    child_context = {"payout": "$.id"}
    events = told("payout", "created updated canceled failed paid reconciliation_completed")


class PayoutBalanceTransactions(ChildStream):
    """Which transactions a payout paid out; Stripe knows that of automatic payouts only."""

    name = "payout_balance_transactions"
    object_name = "balance_transaction"
    parent = "payouts"
    path = "/v1/balance_transactions"
    params = {"payout": "{parent.payout}"}
    primary_keys = ("payout", "id")


class BalanceTransactions(StripeStream):
    """No event tells of them; from pending to available they take days."""

    name = "balance_transactions"
    object_name = "balance_transaction"
    path = "/v1/balance_transactions"
    lookback = timedelta(days=14)


class Disputes(StripeStream):
    name = "disputes"
    object_name = "dispute"
    path = "/v1/disputes"
    events = told("charge.dispute", "created updated closed funds_reinstated funds_withdrawn")


class Products(StripeStream):
    name = "products"
    object_name = "product"
    path = "/v1/products"
    events = told("product", "created updated deleted")


class Prices(StripeStream):
    name = "prices"
    object_name = "price"
    path = "/v1/prices"
    expand = ("tiers",)
    events = told("price", "created updated deleted")


class Plans(StripeStream):
    name = "plans"
    object_name = "plan"
    path = "/v1/plans"
    expand = ("tiers",)
    events = told("plan", "created updated deleted")


class Coupons(StripeStream):
    name = "coupons"
    object_name = "coupon"
    path = "/v1/coupons"
    expand = ("applies_to",)
    events = told("coupon", "created updated deleted")


class PromotionCodes(StripeStream):
    name = "promotion_codes"
    object_name = "promotion_code"
    path = "/v1/promotion_codes"
    events = told("promotion_code", "created updated")


class Refunds(StripeStream):
    name = "refunds"
    object_name = "refund"
    path = "/v1/refunds"
    events = ("refund.created", "refund.updated", "refund.failed", "charge.refund.updated")


class PaymentIntents(StripeStream):
    name = "payment_intents"
    object_name = "payment_intent"
    path = "/v1/payment_intents"
    events = told(
        "payment_intent",
        "created amount_capturable_updated canceled partially_funded payment_failed processing "
        "requires_action succeeded",
    )


class SetupIntents(StripeStream):
    name = "setup_intents"
    object_name = "setup_intent"
    path = "/v1/setup_intents"
    events = told("setup_intent", "created canceled requires_action setup_failed succeeded")


class CreditNotes(StripeStream):
    name = "credit_notes"
    object_name = "credit_note"
    path = "/v1/credit_notes"
    nested = ("lines",)
    child_context = {"credit_note": "$.id"}
    events = told("credit_note", "created updated voided")


class CreditNoteLineItems(NestedStream):
    name = "credit_note_line_items"
    object_name = "credit_note_line_item"
    parent = "credit_notes"
    list_name = "lines"
    primary_keys = ("credit_note", "id")


class CheckoutSessions(StripeStream):
    """No event tells of a new session; it ends within a day."""

    name = "checkout_sessions"
    object_name = "checkout.session"
    path = "/v1/checkout/sessions"
    child_context = {"checkout_session": "$.id"}
    lookback = timedelta(days=2)
    events = told("checkout.session", "completed expired async_payment_succeeded async_payment_failed")


class CheckoutSessionLineItems(ChildStream):
    """Of old sessions Stripe forgets them: those are counted, and skipped."""

    name = "checkout_session_line_items"
    object_name = "item"
    parent = "checkout_sessions"
    path = "/v1/checkout/sessions/{checkout_session}/line_items"
    primary_keys = ("checkout_session", "id")


class SubscriptionSchedules(StripeStream):
    name = "subscription_schedules"
    object_name = "subscription_schedule"
    path = "/v1/subscription_schedules"
    events = told("subscription_schedule", "created updated aborted canceled completed expiring released")


class Transfers(StripeStream):
    name = "transfers"
    object_name = "transfer"
    path = "/v1/transfers"
    nested = ("reversals",)
    child_context = {"transfer": "$.id"}
    events = told("transfer", "created updated reversed")


class TransferReversals(NestedStream):
    name = "transfer_reversals"
    object_name = "transfer_reversal"
    parent = "transfers"
    list_name = "reversals"


class TopUps(StripeStream):
    name = "topups"
    object_name = "topup"
    path = "/v1/topups"
    events = told("topup", "created canceled failed reversed succeeded")


class ApplicationFees(StripeStream):
    name = "application_fees"
    object_name = "application_fee"
    path = "/v1/application_fees"
    nested = ("refunds",)
    events = told("application_fee", "created refunded")


class Reviews(StripeStream):
    name = "reviews"
    object_name = "review"
    path = "/v1/reviews"
    events = told("review", "opened closed")


class EarlyFraudWarnings(StripeStream):
    name = "early_fraud_warnings"
    object_name = "radar.early_fraud_warning"
    path = "/v1/radar/early_fraud_warnings"
    events = told("radar.early_fraud_warning", "created updated")


class TaxRates(StripeStream):
    name = "tax_rates"
    object_name = "tax_rate"
    path = "/v1/tax_rates"
    events = told("tax_rate", "created updated")


class ShippingRates(StripeStream):
    """No event tells of a change: read anew each time."""

    name = "shipping_rates"
    object_name = "shipping_rate"
    path = "/v1/shipping_rates"
    incremental = None


class Files(StripeStream):
    name = "files"
    object_name = "file"
    path = "/v1/files"
    nested = ("links",)


class FileLinks(StripeStream):
    """Links can be changed, and no event tells of it: read anew each time."""

    name = "file_links"
    object_name = "file_link"
    path = "/v1/file_links"
    incremental = None


class Events(StripeStream):
    """Everything that happened in the last 30 days, as it was told then."""

    name = "events"
    object_name = "event"
    path = "/v1/events"


STREAMS = (
    *(Charges, Customers, Subscriptions, SubscriptionItems, Invoices, InvoiceLineItems, InvoiceItems),
    *(InvoicePayments, Payouts, PayoutBalanceTransactions, BalanceTransactions, Disputes, Products, Prices),
    *(
        Plans,
        Coupons,
        PromotionCodes,
        Refunds,
        PaymentIntents,
        SetupIntents,
        CreditNotes,
        CreditNoteLineItems,
    ),
    *(
        CheckoutSessions,
        CheckoutSessionLineItems,
        SubscriptionSchedules,
        Transfers,
        TransferReversals,
        TopUps,
    ),
    *(ApplicationFees, Reviews, EarlyFraudWarnings, TaxRates, ShippingRates, Files, FileLinks, Events),
)

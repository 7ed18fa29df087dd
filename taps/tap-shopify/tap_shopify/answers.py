"""What Shopify's answers say besides data: errors with status 200, costs, and the version that answered."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from icetap.rest import ErrorRule, JSONPath, Match

if TYPE_CHECKING:
    from icetap.rest import Answer

_ERRORS = JSONPath("$.errors")
_COST = JSONPath("$.extensions.cost")
_RIGHT = re.compile(r"`((?:read|write)_\w+)`")
_BUSY_PART = 0.8
"""REST's bucket is left to drain when it is fuller than this (https://shopify.dev/docs/api/usage/limits, 2026-11-21)."""


def errors_of(answer: Answer) -> list[Any]:
    """Return the errors in an answer, which may also be a text or an object."""
    found = answer.first(_ERRORS)
    return [] if not found else found if isinstance(found, list) else [found]


def codes(answer: Answer) -> set[str]:
    """Return the codes of the errors in an answer."""
    found = set()
    for error in errors_of(answer):
        if isinstance(error, dict):
            extensions = error.get("extensions")
            code = extensions.get("code") if isinstance(extensions, dict) else None
            found.add(str(code or "UNKNOWN"))
    return found


def has_code(answer: Answer, *wanted: str) -> bool:
    """Say whether one of the errors has one of these codes."""
    return bool(codes(answer) & set(wanted))


def is_denied(answer: Answer) -> bool:
    """Say whether the app lacks a right."""
    return answer.status == 200 and has_code(answer, "ACCESS_DENIED")


def named_rights(answer: Answer) -> list[str]:
    """Return the rights that errors say are required: "Required access: `read_customers` access scope."."""
    words = (error.get("message") for error in errors_of(answer) if isinstance(error, dict))
    return sorted({right for each in words for right in _RIGHT.findall(str(each))})


def throttled_seconds(answer: Answer) -> float | None:
    """Return how long to wait until there are points enough for the query that was just refused."""
    cost = answer.first(_COST)
    if not isinstance(cost, dict) or not isinstance(status := cost.get("throttleStatus"), dict):
        return None
    lacking = float(cost.get("requestedQueryCost") or 0) - float(status["currentlyAvailable"])
    return max(0.1, lacking / max(1.0, float(status["restoreRate"])))


def seconds_to_rest(answer: Answer) -> float:
    """Return how long to leave Shopify alone, so that the next request like this one is not refused."""
    cost = answer.first(_COST)
    if isinstance(cost, dict) and isinstance(status := cost.get("throttleStatus"), dict):
        lacking = float(cost.get("requestedQueryCost") or 0) - float(status["currentlyAvailable"])
        return max(0.0, lacking / max(1.0, float(status["restoreRate"])))
    used, _, limit = answer.headers.get("X-Shopify-Shop-Api-Call-Limit", "").partition("/")
    if used.isdigit() and limit.isdigit() and int(used) > _BUSY_PART * int(limit):
        return 0.5
    return 0.0


def _is_refused(answer: Answer) -> bool:
    found = codes(answer) - {"MAX_COST_EXCEEDED"}
    return answer.status == 200 and bool(errors_of(answer)) and (bool(found) or not codes(answer))


RULES = (
    ErrorRule(lambda answer: has_code(answer, "THROTTLED"), "retry", wait=throttled_seconds),
    ErrorRule(lambda answer: has_code(answer, "INTERNAL_SERVER_ERROR", "TIMEOUT"), "retry"),
    ErrorRule(
        lambda answer: has_code(answer, "SHOP_INACTIVE"),
        "fail",
        "The shop is inactive: its owner has to open it.",
    ),
    ErrorRule(is_denied, "no_access", "The app lacks a right. 'tap-shopify --test' says which."),
    ErrorRule(
        _is_refused, "fail", "If a field is unknown, 'api_version' is one that this tap was not made for."
    ),
    ErrorRule(Match(status=[430]), "retry"),
    ErrorRule(Match(status=[402]), "fail", "The shop is frozen until its owner pays."),
    ErrorRule(Match(status=[423]), "fail", "The shop is locked; Shopify's support knows why."),
    ErrorRule(Match(status=[404]), "fail", "Check the setting 'shop_domain'."),
)
"""What holds for every answer; statuses 402, 423 and 430 are believed to mean this, and have not been seen."""

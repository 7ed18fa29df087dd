"""The contract of single columns: what a difference does, and where a value goes that does not fit."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from icetap.errors import ConfigurationError
from icetap.settings import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMA_POLICIES = ("evolve", "freeze", "discard")
ON_REJECTED = ("quarantine", "fail", "skip")

NULL = "null"
"""What becomes of a value that does not fit, beside the words of `on_rejected`: the row stays without it."""

_SEVERITY = ("skip", "quarantine", "fail")
_OPTIONS = {"schema_policy": SCHEMA_POLICIES, "on_rejected": ON_REJECTED}
_OWN_COLUMNS = ("_sdc_", "_valid_from", "_valid_to", "_is_current")
"""Columns that the loader adds because a setting asks for them; nothing of them is ever left out."""


@dataclass(frozen=True)
class ColumnRules:
    """What a stream's contract says of each column.

    Attributes:
        policy: The stream's `schema_policy`.
        on_rejected: The stream's `on_rejected`; None takes what fits the policy.
        patterns: Options of columns by name or pattern, in the order in which they count.
    """

    policy: str = "evolve"
    on_rejected: str | None = None
    patterns: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def _given(self, column: str, option: str) -> str | None:
        found = None
        for pattern, options in self.patterns.items():
            if option in options and pattern != column and fnmatch.fnmatchcase(column, pattern):
                found = options[option]
        return self.patterns.get(column, {}).get(option, found)

    def policy_of(self, column: str) -> str:
        """Return what a difference in this column of the source does."""
        policy = self._given(column, "schema_policy") or self.policy
        return "evolve" if policy == "discard" and column.startswith(_OWN_COLUMNS) else policy

    def leaves_out(self, column: str) -> bool:
        """Whether the column is left out of new tables too, as a pattern asks; a stream's policy does not."""
        return self._given(column, "schema_policy") == "discard" and self.policy_of(column) == "discard"

    def refusal(self, column: str | None, *, is_key: bool = False) -> str:
        """Return what becomes of a row for a value that does not fit: a word of `on_rejected`, or `NULL`.

        Args:
            column: The column, None when the whole row is unreadable.
            is_key: Whether the column identifies the row, which therefore cannot do without it.
        """
        given = None if column is None else self._given(column, "on_rejected")
        policy = self.policy if column is None else self.policy_of(column)
        if given is None and policy == "discard" and column is not None and not is_key:
            return NULL
        return given or self.on_rejected or ("fail" if policy == "freeze" else "quarantine")


def stricter(one: str, other: str) -> bool:
    """Whether the first word of `on_rejected` asks for more than the second."""
    return _SEVERITY.index(one) > _SEVERITY.index(other)


def check_columns(columns: Any, *, where: str) -> None:
    """Refuse options of columns that there are not.

    Args:
        columns: The value of an option `columns`.
        where: The setting that holds it, for the message.

    Raises:
        ConfigurationError: Naming the option or the value, and the nearest that there is.
    """
    if not isinstance(columns, dict):
        raise ConfigurationError(
            f"setting '{where}.columns' must map names or patterns of columns to their options"
        )
    for pattern, options in columns.items():
        place = f"setting '{where}.columns.{pattern}'"
        if not isinstance(options, dict):
            raise ConfigurationError(f"{place} must hold options: {', '.join(_OPTIONS)}")
        for name, value in options.items():
            if name not in _OPTIONS:
                raise ConfigurationError(f"{place} has no option '{name}'{did_you_mean(name, _OPTIONS)}")
            if value not in _OPTIONS[name]:
                allowed = ", ".join(_OPTIONS[name])
                raise ConfigurationError(
                    f"{place}: '{name}' is '{value}'; expected one of {allowed}{did_you_mean(str(value), _OPTIONS[name])}"
                )

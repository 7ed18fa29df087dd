"""How far each account has been read, as the bookmark holds it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from icetap.errors import StateError
from icetap.rest import dates
from icetap.rest.incremental import SYNC_TIME
from tap_stripe.objects import ACCOUNT_ID

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime, timedelta

_KEY, _VALUE = "replication_key", "replication_key_value"
_UNTIL, _ACCOUNTS = "read_until", "accounts"


@dataclass
class Position:
    """How far one account has been read."""

    changes_from: datetime | None = None
    """From when on changes are not known yet; until then the lists are to be read in a first run."""

    read_until: datetime | None = None
    """How far the lists of an unfinished first run have been read; None: not at all."""

    is_whole: bool = False
    """Whether the lists were read to their end."""

    def and_of(self, other: Position) -> Position:
        """Return the earlier one, as to lists and as to changes."""
        if self.changes_from is None or other.changes_from is None:
            return Position()
        unfinished = [each.read_until for each in (self, other) if not each.is_whole]
        known = [until for until in unfinished if until is not None]
        return Position(
            min(self.changes_from, other.changes_from),
            min(known) if len(known) == len(unfinished) > 0 else None,
            is_whole=not unfinished,
        )

    def start_over(self) -> None:
        """Forget everything."""
        self.changes_from, self.read_until, self.is_whole = None, None, False


@dataclass
class Positions:
    """The positions of all accounts of a stream; without Connect there is one, of the account ''."""

    by_account: bool
    found: dict[str, Position] = field(default_factory=dict)

    @classmethod
    def of(cls, bookmark: Mapping[str, Any], *, by_account: bool, where: str) -> Positions:
        """Return what a bookmark says; nothing when it was written for another choice of accounts.

        Raises:
            StateError: When it holds something else than times.
        """
        given = bookmark.get(_ACCOUNTS)
        one = {} if given or _VALUE not in bookmark else {"": bookmark}
        try:
            return cls(
                by_account,
                {key: _position(each) for key, each in ((given or {}) if by_account else one).items()},
            )
        except (ValueError, TypeError, AttributeError):
            raise StateError(
                f"{where}: the bookmark is no time. Run once with --full-refresh, or correct the state."
            ) from None

    def and_of(self, other: Positions) -> Positions:
        """Return the positions from which on nothing is missed that either of two lacks."""
        both = self.found.keys() & other.found.keys()
        return Positions(self.by_account, {key: self.found[key].and_of(other.found[key]) for key in both})

    def of_account(self, partition: Mapping[str, Any]) -> Position:
        """Return an account's position, which the caller moves."""
        return self.found.setdefault(partition.get(ACCOUNT_ID, ""), Position())

    def not_later_than(self, now: datetime) -> None:
        """Take the server's time where this machine's clock is ahead of it."""
        for position in self.found.values():
            if position.changes_from is not None:
                position.changes_from = min(position.changes_from, now)

    def bookmark(self) -> dict[str, Any]:
        """Return the stream's part of the state; its time is the earliest of all accounts. Empty without any."""
        written = {
            account: _written(position) for account, position in self.found.items() if position.changes_from
        }
        if not written:
            return {}
        if not self.by_account:
            return {_KEY: SYNC_TIME, **written[""]}
        first = min(one[_VALUE] for one in written.values())
        return {_KEY: SYNC_TIME, _VALUE: first, _ACCOUNTS: written}


def _position(bookmark: Mapping[str, Any]) -> Position:
    until = bookmark.get(_UNTIL)
    return Position(
        dates.instant(bookmark[_VALUE]),
        dates.instant(until) if until else None,
        is_whole=_UNTIL not in bookmark,
    )


def _written(position: Position) -> dict[str, Any]:
    found: dict[str, Any] = {_VALUE: dates.iso(position.changes_from)} if position.changes_from else {}
    if not position.is_whole:
        found[_UNTIL] = dates.iso(position.read_until) if position.read_until else None
    return found


def windows(start: datetime | None, end: datetime, *, length: timedelta) -> Iterator[tuple[Any, datetime]]:
    """Yield half-open windows, oldest first; one without a start when there is none."""
    while start is not None and start + length < end:
        yield start, start + length
        start += length
    yield start, end

"""Full reads that lack much of what the table holds: a source that is broken looks like one that was emptied."""

from __future__ import annotations

from icetap.errors import DataError

FREE_DELETES = 100
"""So many rows may always go: the share says nothing of a table with a handful of rows."""


class MassDeleteError(DataError):
    """A complete full read would delete more than it may."""


def check_deletes(gone: int, stored: int, *, most: float, stream: str) -> None:
    """Refuse a full read that would delete too large a part of the table.

    Args:
        gone: Rows that would go.
        stored: Rows that the table has.
        most: The largest part that may go, 0 to 1; with 0 not even a few rows may.
        stream: The stream's name, for the message.

    Raises:
        MassDeleteError: With the numbers, and how to let them go.
    """
    if gone <= most * stored or (gone <= FREE_DELETES and most > 0):
        return
    raise MassDeleteError(
        f"its complete full read would delete {gone:,} of {stored:,} rows ({gone / stored:.0%}); 'max_delete_ratio' "
        f"allows {most:.0%}. The table is unchanged. Look whether the source is whole; if these rows are really gone, "
        f"set 'streams.{stream}.max_delete_ratio' to 1 for one run"
    )

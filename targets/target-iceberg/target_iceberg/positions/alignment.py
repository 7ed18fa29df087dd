"""Where the tap starts against where a table without keys is: go on, go back, or refuse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from icetap.errors import StateError
from target_iceberg.positions import bookmarks
from target_iceberg.positions.boundary import Boundary
from target_iceberg.positions.states import same_bookmark

if TYPE_CHECKING:
    from target_iceberg.positions.states import Start
    from target_iceberg.tables.loaded_table import LoadedTable


@dataclass(frozen=True)
class Alignment:
    """How an append begins.

    Attributes:
        rewind: The snapshot to go back to with the first commit, None to go on from the head.
        boundary: The rows at the bookmark that the tap sends again, None when there are none.
        warning: Why rows may come twice, None when they cannot.
    """

    rewind: bookmarks.Rewind | None = None
    boundary: Boundary | None = None
    warning: str | None = None


def align(table: LoadedTable, start: Start, *, stream: str, pipeline: str, on_mismatch: str) -> Alignment:
    """Return how rows are appended to a table without keys.

    Args:
        table: The table.
        start: Where the tap starts.
        stream: The stream's name, for messages.
        pipeline: The pipeline's name.
        on_mismatch: The setting `on_state_mismatch`.

    Raises:
        StateError: When going on would repeat or lose rows, and going back is not safe.
    """
    metadata = table.table.metadata
    others = bookmarks.other_pipelines(metadata, pipeline)
    if others:
        told = f"has no keys and is loaded by other pipelines too ({', '.join(others)}): rows may come twice"
        return Alignment(warning=told)
    known = table.position.bookmark
    if not start.is_stated and known is not None and not is_sdk_shaped(known):
        return Alignment(
            warning="has no keys and its tap does not repeat its state: rows may come twice after a broken run"
        )
    rewind = None
    if not same_bookmark(start.bookmark, known) or bookmarks.head_is_open(metadata, pipeline):
        rewind = bookmarks.find_rewind(metadata, pipeline, start.bookmark, any_run=on_mismatch == "rewind")
        if rewind is None and on_mismatch == "stop":
            raise StateError(
                f"stream '{stream}' has no keys, and the tap starts elsewhere than the table {table.name} is: "
                "loading would repeat or lose rows. "
                "`target-iceberg --read-state` prints the state that fits the table; set it with `meltano state set`. "
                "Or choose with 'on_state_mismatch': 'append' loads all the same, 'rewind' goes back to an earlier commit."
            )
    base = rewind.snapshot_id if rewind else table.head
    return Alignment(rewind, Boundary.of(table.table, base, bookmark=start.bookmark))


def is_sdk_shaped(bookmark: str) -> bool:
    """Whether a bookmark has the shape of the Singer SDK, whose taps repeat their state when they have one."""
    return '"replication_key_value"' in bookmark

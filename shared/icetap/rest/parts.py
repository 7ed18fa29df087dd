"""What a walk through pages reads, and what it brings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from icetap.rest.incremental import Window

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Part:
    """What one walk through pages reads: a window, of a partition, of a parent."""

    window: Window = field(default_factory=Window)
    partition: Mapping[str, Any] = field(default_factory=dict)
    parent: Mapping[str, Any] = field(default_factory=dict)
    job: Mapping[str, Any] = field(default_factory=dict)
    """What requests may use of the job that the part is read by; see `icetap.rest.jobs`."""

    @property
    def names(self) -> dict[str, Any]:
        """The values of bare names in a path, such as `{client_id}`."""
        return {**self.partition, **self.parent}


@dataclass(frozen=True, slots=True)
class RecordPage:
    """Some records as they are emitted, and the stream's bookmark once they and all before them are out.

    `bookmark` is None where the stream could not go on from here.
    """

    records: list[dict[str, Any]]
    bookmark: dict[str, Any] | None = None
    contexts: list[Mapping[str, Any]] | None = None
    """What children may use, one for each record that has children; taken from the records when left out."""

    is_news: bool = False
    """Whether the stream has something new to remember, although its bookmark is where it was."""

"""Streams that cannot be read although the others can: those are read first, then the run fails and names these."""

from __future__ import annotations

from typing import TYPE_CHECKING

from icetap.errors import IcetapError, SkippableError, about_stream

if TYPE_CHECKING:
    from collections.abc import Collection


class LeftOut:
    """The selected streams that a run has not read, or not to their end, and why."""

    def __init__(self) -> None:
        self._reasons: dict[str, IcetapError | str] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._reasons

    @property
    def names(self) -> tuple[str, ...]:
        """The streams, in the order in which they failed."""
        return tuple(self._reasons)

    def add(self, name: str, reason: IcetapError | str) -> None:
        """Note that a stream cannot be read; the first reason counts."""
        self._reasons.setdefault(name, reason)

    def refuse(self, *, selected: Collection[str]) -> None:
        """Fail at a run's end when there are such streams.

        Args:
            selected: The streams that the run was to read.

        Raises:
            IcetapError: The reason itself, when the run was to read this one stream and no other.
            SkippableError: Naming the streams, each with its reason.
        """
        if not self._reasons:
            return
        first = next(iter(self._reasons.values()))
        were_others_read = bool(set(selected) - set(self._reasons))
        if not were_others_read and len(self._reasons) == 1 and isinstance(first, IcetapError):
            raise first
        reasons = "; ".join(
            about_stream(name, str(reason).removesuffix(".")) for name, reason in self._reasons.items()
        )
        count = "1 stream" if len(self._reasons) == 1 else f"{len(self._reasons)} streams"
        others = "the others were" if were_others_read else "and no other was selected"
        raise SkippableError(
            f"{count} could not be read, {others}: {reasons}. "
            "Deselect them, or repair what is said of them, and run again."
        )

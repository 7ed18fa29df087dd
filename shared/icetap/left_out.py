"""Streams that cannot be read although the others can: those are read first, then the run fails and names these."""

from __future__ import annotations

from icetap.errors import IcetapError, SkippableError


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

    def refuse(self, *, selected: int) -> None:
        """Fail at a run's end when there are such streams.

        Args:
            selected: How many streams the run was to read.

        Raises:
            IcetapError: The reason itself, when the run was to read this one stream and no other.
            SkippableError: Naming the streams, each with its reason.
        """
        if not self._reasons:
            return
        first = next(iter(self._reasons.values()))
        if selected == 1 and isinstance(first, IcetapError):
            raise first
        reasons = "; ".join(_told(name, str(reason)) for name, reason in self._reasons.items())
        count = "1 stream" if len(self._reasons) == 1 else f"{len(self._reasons)} streams"
        others = "and no other was selected" if len(self._reasons) >= selected else "the others were"
        raise SkippableError(
            f"{count} could not be read, {others}: {reasons}. "
            "Deselect them, or repair what is said of them, and run again."
        )


def _told(name: str, reason: str) -> str:
    """Return a reason that names its stream."""
    text = reason.removesuffix(".")
    return text if f"'{name}'" in text else f"'{name}': {text}"

"""Options that many streams share: what they mean for one that has no such column, or no change log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from icetap.sql.stream import SQLStream

LOG_BASED = "LOG_BASED"


class SharedOptions:
    """The options of one stream; what it shares with others holds as far as its columns allow.

    Args:
        options: All of them, whoever gave them.
        own: Those that were given under the stream's very name: what they name has to be there.

    Attributes:
        lacking: Shared options that do not hold, with the column that they name and the stream does not have.
    """

    def __init__(self, options: Mapping[str, Any], own: Mapping[str, Any]) -> None:
        self._options = options
        self._own = own
        self.lacking: dict[str, str] = {}

    def renames(self, names: Collection[str]) -> dict[str, str]:
        """Return the option `rename` for a stream with columns of these names."""
        rename: Mapping[str, str] = self._options.get("rename") or {}
        is_own = "rename" in self._own
        return {old: new for old, new in rename.items() if is_own or old in names}

    def columns(self, option: str, *, known: Collection[str]) -> list[str]:
        """Return the columns that an option names; none where it is shared and one of them is not known."""
        given = self._options.get(option) or ()
        names = [given] if isinstance(given, str) else list(given)
        return names if option in self._own or self.holds(option, names, known=known) else []

    def holds(self, option: str, names: Sequence[str], *, known: Collection[str]) -> bool:
        """Say whether a shared option names known columns only, and remember when it does not."""
        missing = [name for name in names if name not in known]
        self.lacking.pop(option, None)
        if missing:
            self.lacking[option] = missing[0]
        return not missing

    @property
    def insists_on_log(self) -> bool:
        """Whether LOG_BASED was asked for under the stream's very name."""
        return bool(self._own.get("replication_method") == LOG_BASED)

    def remarks(self, stream: SQLStream) -> Iterator[str]:
        """Yield how a stream is read otherwise than what it shares with others asks for."""
        method, column = stream.replication_method, self.lacking.get("replication_key")
        silence = f"Set 'streams.{stream.table.stream}.replication_method: {method}' to hear no more of it"
        if stream.asked_method == LOG_BASED != method:
            yield f"a {stream.table.kind} has no change log for LOG_BASED, so it is read by {method}. {silence}"
        elif column and method == "FULL_TABLE" != self._options.get("replication_method"):
            yield f"it has no column '{column}' for a replication key, so it is read in full. {silence}"
        if column := self.lacking.get("key_properties"):
            key = ", ".join(stream.primary_keys) or "none"
            yield f"it has no column '{column}', which 'key_properties' names, so its own key stays: {key}"

    def why_no_cursor(self) -> str:
        """Say why a stream has no replication key, and what to do."""
        column = self.lacking.get("replication_key")
        lacks = f"does not have the column '{column}'" if column else "has no replication key"
        return (
            f"{lacks}. Set 'replication-key' in its metadata, or 'streams.<name>.replication_key', or read it by "
            "FULL_TABLE."
        )

"""The setting `streams: {"<name or glob>": {…}}`, which every tap has, resolved."""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING, Any

from icetap.errors import ConfigurationError
from icetap.settings import did_you_mean

if TYPE_CHECKING:
    import logging
    from collections.abc import Collection, Mapping


class StreamOptions:
    """Options by stream: an exact name beats a glob, of two globs the later wins.

    Single options are merged: what the exact entry leaves out comes from the globs, then from the
    setting of the same name for all streams.

    Args:
        config: The tap's settings.
        known: The options that a stream may have.

    Raises:
        ConfigurationError: For an option that does not exist.
    """

    def __init__(self, config: Mapping[str, Any], *, known: Mapping[str, Any]) -> None:
        self._config = config
        self._known = known
        self.entries: dict[str, dict[str, Any]] = config.get("streams") or {}
        for pattern, options in self.entries.items():
            unknown = sorted(set(options) - set(known))
            if unknown:
                raise ConfigurationError(
                    f"setting 'streams', entry '{pattern}' has no option '{unknown[0]}'{did_you_mean(unknown[0], known)}"
                )

    def of(self, name: str) -> dict[str, Any]:
        """Return the options of the stream of this name."""
        merged = {
            option: self._config[option] for option in self._known if self._config.get(option) is not None
        }
        for pattern, options in self.entries.items():
            if pattern != name and fnmatch.fnmatchcase(name, pattern):
                merged.update(options)
        return merged | self.entries.get(name, {})

    def refuse_unmatched(self, names: Collection[str], *, logger: logging.Logger) -> None:
        """Refuse names that no stream has; warn of globs that fit none.

        Raises:
            ConfigurationError: With the nearest name.
        """
        for pattern in self.unmatched(names):
            message = f"setting 'streams' has an entry '{pattern}' that fits no stream"
            if not any(character in pattern for character in "*?["):
                raise ConfigurationError(f"{message}{did_you_mean(pattern, names)}")
            logger.warning("%s", message)

    def unmatched(self, names: Collection[str]) -> list[str]:
        """Return the entries that fit no stream."""
        return [
            pattern
            for pattern in self.entries
            if pattern not in names and not any(fnmatch.fnmatchcase(name, pattern) for name in names)
        ]

"""The settings of masks: what they say, and to which columns it applies."""

from __future__ import annotations

import fnmatch
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from icetap.errors import ConfigurationError
from icetap.settings import did_you_mean

LOGGER = logging.getLogger("icetap.masks")
SHORT_KEY = 16


class Mask(StrEnum):
    """What becomes of a column's values."""

    HASH = "hash"
    PARTIAL = "partial"
    REDACT = "redact"
    YEAR = "year"
    DROP = "drop"
    KEEP = "keep"


MASKS_SETTINGS: dict[str, dict[str, Any]] = {
    "masks": {
        "type": ["object", "null"],
        "additionalProperties": {"type": "object", "additionalProperties": {"type": ["string", "object"]}},
        "title": "Masks",
        "description": "What hides personal data, by stream and column, before it leaves the tap: `hash` (equal "
        "values stay equal), `partial` (the last four characters stay; of an e-mail address the domain), `redact` "
        "(null), `year` (January 1st), `drop` (no such column); `keep` excepts a column from a pattern. Streams and "
        "columns are names or patterns; parts of nested columns are `address.street`, `items[].sku`, `labels.*`.",
        "examples": [{"customers": {"email": "hash", "phone": "partial", "address.street": "redact"}}],
    },
    "mask_key": {
        "type": ["string", "null"],
        "secret": True,
        "title": "Key of the masks",
        "description": "What the mask `hash` is keyed with (HMAC-SHA256). The same key gives the same hash, in every "
        "tap and every run; another key gives others. `icetap secrets new-key` makes one.",
    },
    "mask_new_personal_columns": {
        "type": "string",
        "enum": ["hash", "redact", "off"],
        "default": "off",
        "title": "Unmasked personal columns",
        "description": "What happens to a column that looks personal and that `masks` says nothing about: `hash` or "
        "`redact` masks it, `off` reports it. `keep` in `masks` accepts it.",
    },
}
"""The settings that every tap has, as JSON Schema."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of the setting `masks`."""

    stream: str
    column: str
    mask: Mask
    place: int
    is_default: bool = False
    """Made by `mask_new_personal_columns`, or written for what this is a copy of: any other one is stronger."""

    original: Callable[[str], str | None] | None = field(default=None, repr=False, compare=False)
    """For a copy: the path in the stream that the line was written for; None for what is no copy."""

    def fits(self, path: str) -> bool:
        """Say whether the rule names a column, or a part of one."""
        there = self.original(path) if self.original else path
        return there is not None and fits_column(self.column, there)

    def may_fit_inside(self, path: str) -> bool:
        """Say whether the rule may name a part of the JSON document at a path."""
        there = self.original(path) if self.original else path
        if there is None:
            return False
        begin = self.column.partition("*")[0].partition("?")[0]
        if begin.startswith((f"{there}.", f"{there}[]")):
            return True
        return is_pattern(self.column) and f"{there}.".startswith(begin)

    @property
    def setting(self) -> str:
        """Where it stands, for messages."""
        return f"setting 'masks', stream '{self.stream}', column '{self.column}'"

    @property
    def rank(self) -> tuple[bool, bool, bool, int]:
        """What decides between rules: an exact name beats a pattern, a later pattern an earlier one."""
        return (
            not self.is_default,
            not is_pattern(self.stream),
            not is_pattern(self.column),
            self.place,
        )


@dataclass(frozen=True, slots=True)
class Masks:
    """The settings `masks`, `mask_key` and `mask_new_personal_columns`, read."""

    rules: tuple[Rule, ...] = ()
    key: str | None = field(default=None, repr=False)
    new_personal: Mask | None = None
    """What becomes of personal columns without a rule; None leaves them."""

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Masks:
        """Read the settings.

        Raises:
            ConfigurationError: For an unknown mask, another form, or `hash` without a key.
        """
        rules: list[Rule] = []
        for stream, columns in (config.get("masks") or {}).items():
            if not isinstance(columns, Mapping):
                raise ConfigurationError(
                    f"setting 'masks', stream '{stream}': expected columns and their masks, such as "
                    "{email: hash}"
                )
            for column, mask in _flat(columns):
                rules.append(Rule(stream, column, _mask(mask, stream=stream, column=column), len(rules)))
        wanted = config.get("mask_new_personal_columns", "off")
        new_personal = None if wanted in {None, "off"} else Mask(wanted)
        key = config.get("mask_key") or None
        if key is None and (new_personal is Mask.HASH or any(rule.mask is Mask.HASH for rule in rules)):
            raise ConfigurationError(
                "the mask 'hash' needs the setting 'mask_key', a secret text that stays the same. "
                "`icetap secrets new-key` makes one, `icetap secrets set mask-key` stores it; then set "
                "mask_key: secret://mask-key"
            )
        if key is not None and len(key) < SHORT_KEY:
            LOGGER.warning(
                "setting 'mask_key' has %d characters, with which values can be guessed from their hashes. Take %d or "
                "more: `icetap secrets new-key` makes a key. Another key gives other hashes",
                len(key),
                SHORT_KEY,
            )
        return cls(tuple(rules), key, new_personal)

    @property
    def is_given(self) -> bool:
        """Whether anything is said about masks."""
        return bool(self.rules) or self.new_personal is not None

    def of_stream(self, stream: str) -> tuple[Rule, ...]:
        """Return the rules whose stream this is, the strongest first."""
        found = [rule for rule in self.rules if fits_stream(rule.stream, stream)]
        return tuple(sorted(found, key=lambda rule: rule.rank, reverse=True))


def _flat(columns: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield columns and masks, joined again where Meltano has taken `address.street` for an object `address`."""
    for name, mask in columns.items():
        if isinstance(mask, Mapping) and mask:
            yield from _flat(mask, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", mask


def _mask(text: object, *, stream: str, column: str) -> Mask:
    try:
        return Mask(str(text))
    except ValueError:
        words = [mask.value for mask in Mask]
        near = did_you_mean(str(text), words)
        raise ConfigurationError(
            f"setting 'masks', stream '{stream}', column '{column}': there is no mask '{text}'{near or '.'} "
            f"There are: {', '.join(words)}."
        ) from None


def is_pattern(text: str) -> bool:
    """Say whether a name stands for several: it holds `*` or `?`."""
    return "*" in text or "?" in text


def fits_stream(pattern: str, stream: str) -> bool:
    """Say whether a stream's name or pattern names a stream; as in the setting `streams`."""
    return pattern == stream or fnmatch.fnmatchcase(stream, pattern)


def fits_column(pattern: str, path: str) -> bool:
    """Say whether a column's name or pattern names a column or a part of one.

    `*` and `?` stand for any characters, points too; brackets are what they are: `items[].sku`.
    """
    if pattern == path:
        return True
    if not is_pattern(pattern):
        return False
    parts = (".*" if char == "*" else "." if char == "?" else re.escape(char) for char in pattern)
    return re.fullmatch("".join(parts), path, re.DOTALL) is not None

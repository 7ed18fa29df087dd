"""ISO 8601 durations of fixed length."""

from __future__ import annotations

import re
from datetime import timedelta

_PARTS = re.compile(
    r"P(?:(?P<weeks>\d+)W)?(?:(?P<days>\d+)D)?"
    r"(?:T(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+(?:\.\d+)?)S)?)?"
)


def duration(text: str) -> timedelta:
    """Return the length of `PT1H`, `P30D` and their kind.

    Raises:
        ValueError: For a text that is none.
    """
    match = _PARTS.fullmatch(text)
    if match is None:
        raise ValueError(f"'{text}' is no ISO 8601 duration")
    return timedelta(**{name: float(value) for name, value in match.groupdict().items() if value is not None})

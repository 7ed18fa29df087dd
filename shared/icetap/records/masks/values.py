"""What each mask makes of one value: the one definition that Arrow columns and dict records share."""

from __future__ import annotations

import base64
import datetime as dt
import re
import uuid
from decimal import MAX_PREC, Context, Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from icetap.types import kind_of

if TYPE_CHECKING:
    from collections.abc import Iterable

HASH_BYTES = 16
"""Of the 32 that HMAC-SHA256 has: 128 bits, 32 hexadecimal characters."""

SHOWN_CHARACTERS = 4
HIDDEN = "*"

_EXACT = Context(prec=MAX_PREC)
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+", re.ASCII)  # as in Arrow


class KeyedHash:
    """HMAC-SHA256 (RFC 2104), cut to 128 bits; the key is prepared once.

    By `cryptography`: for texts of 30 bytes 0.48 microseconds each. Two prepared hashes of `hashlib`, copied
    for each value, take 0.54, those that are built into Python 0.61 (3.11) and 1.2 (3.12 and 3.13); measured
    2026-11-22.
    """

    __slots__ = ("_keyed",)

    def __init__(self, key: str) -> None:
        from cryptography.hazmat.primitives import hashes, hmac  # noqa: PLC0415 - 25 ms that few runs need

        self._keyed = hmac.HMAC(key.encode(), hashes.SHA256())

    def digests(self, values: Iterable[bytes]) -> list[bytes]:
        """Return the 32 bytes of each value's HMAC."""
        found = []
        new = self._keyed.copy
        for value in values:
            keyed = new()
            keyed.update(value)
            found.append(keyed.finalize())
        return found

    def text(self, value: bytes) -> str:
        """Return the 32 hexadecimal characters that stand for a value."""
        return self.digests([value])[0][:HASH_BYTES].hex()


def partial(text: str) -> str:
    """Hide all but the last four characters; of an e-mail address, the local part.

    A text of four characters or less is hidden whole.
    """
    if "@" in text and _EMAIL.fullmatch(text):
        local, _, domain = text.partition("@")
        return f"{HIDDEN * len(local)}@{domain}"
    hidden = len(text) - SHOWN_CHARACTERS
    return HIDDEN * hidden + text[hidden:] if hidden > 0 else HIDDEN * len(text)


def first_of_year(value: dt.date) -> dt.date:
    """Return January 1st of a date's year; of an instant, at midnight UTC."""
    if isinstance(value, dt.datetime):
        if value.tzinfo is not None:
            value = value.astimezone(dt.UTC)
        return value.replace(month=1, day=1, hour=0, minute=0, second=0, microsecond=0)
    return value.replace(month=1, day=1)


def plain_text(value: Any) -> str:
    """Return the text of a value that equal values have in common, whatever column they are in.

    Numbers are equal by value: 42, 42.0 and 42.00 are `42`. Instants are UTC with microseconds.
    """
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return _number_text(Decimal(repr(value)))
        case Decimal():
            return _number_text(value)
        case dt.datetime():
            return instant_text(value)
        case dt.time():
            return value.isoformat(timespec="microseconds")
        case dt.date():
            return value.isoformat()
        case bytes():
            return base64.b64encode(value).decode()
        case _:
            return str(value)


def instant_text(value: dt.datetime) -> str:
    """Return an instant as ISO 8601 with microseconds: in UTC with a `Z`, or without a zone as it came."""
    if value.tzinfo is None:
        return value.isoformat(timespec="microseconds")
    return value.astimezone(dt.UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def _number_text(number: Decimal) -> str:
    if not number.is_finite():
        return str(number).lower()
    text = format(number.normalize(_EXACT), "f")
    return "0" if text == "-0" else text


def hash_bytes(value: Any) -> bytes:
    """Return the bytes that a value's hash is made of: its plain text, or the bytes themselves."""
    return value if isinstance(value, bytes) else plain_text(value).encode("utf-8", "surrogatepass")


def arrow_value(value: Any, field: pa.Field) -> Any:
    """Return a record's JSON value as the value that its Arrow column would hold.

    What does not fit its type stays as it is: the loader refuses it, masked or not.
    """
    kind = field.type
    try:
        if isinstance(value, str):
            return _from_text(value, field)
        if pa.types.is_floating(kind) and isinstance(value, int | float | Decimal):
            return value if isinstance(value, bool) else float(value)
        if kind_of(field) == "text" and not isinstance(value, str):
            return value if isinstance(value, bool) else str(value)
    except (ValueError, OverflowError, ArithmeticError):
        return value
    return value


def _from_text(text: str, field: pa.Field) -> Any:
    kind = field.type
    if pa.types.is_timestamp(kind):
        parsed = dt.datetime.fromisoformat(text)
        if kind.tz is None:
            return parsed if parsed.tzinfo is None else text
        return parsed if parsed.tzinfo else parsed.replace(tzinfo=dt.UTC)
    if pa.types.is_date(kind):
        return dt.date.fromisoformat(text)
    if pa.types.is_time(kind):
        return dt.time.fromisoformat(text)
    if pa.types.is_decimal(kind):
        return Decimal(text)
    if pa.types.is_binary(kind):
        return bytes.fromhex(text) if kind_of(field) == "hex" else base64.b64decode(text, validate=True)
    return str(uuid.UUID(text)) if kind == pa.uuid() else text

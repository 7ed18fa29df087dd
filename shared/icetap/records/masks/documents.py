"""Masks inside of JSON documents, whose parts no schema declares."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import simplejson  # type: ignore[import-untyped]

from icetap.records.masks.rules import Mask
from icetap.records.masks.values import (
    KeyedHash,
    first_of_year,
    hash_bytes,
    instant_text,
    partial,
    plain_text,
)
from icetap.types import canonical_json

if TYPE_CHECKING:
    from icetap.records.masks.plan import Document


def masked_document(text: str, document: Document, hashed: KeyedHash | None) -> str | None:
    """Return a JSON text with its parts masked, numbers with their digits; null for a text that is not JSON.

    What cannot be read cannot be masked, so nothing of it stays.
    """
    try:
        value = json.loads(text, parse_float=Decimal)
    except (ValueError, RecursionError):
        return None
    masked = masked_value(value, document, document.path, hashed)
    return None if masked is DROPPED else json_text(masked)


def json_text(value: Any) -> str:
    """Return the JSON text of a value, without white space."""
    text: str = simplejson.dumps(value, ensure_ascii=False, use_decimal=True, separators=(",", ":"))
    return text


def document_bytes(text: str) -> bytes:
    """Return what the hash of a whole JSON text is made of: its canonical form, or a bare string itself."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = text
    canonical = value if isinstance(value, str) else canonical_json(text)
    return canonical.encode("utf-8", "surrogatepass")


class _Dropped:
    """What stands for a value that is to be left out."""


DROPPED = _Dropped()


def masked_value(value: Any, document: Document, path: str, hashed: KeyedHash | None) -> Any:
    """Return a parsed value with its parts masked; `DROPPED` when it is to be left out."""
    mask = document.mask_of(path)
    if mask is Mask.DROP:
        return DROPPED
    if mask is Mask.REDACT:
        return None
    if isinstance(value, dict):
        parts = {
            name: masked_value(child, document, f"{path}.{name}", hashed) for name, child in value.items()
        }
        return {name: child for name, child in parts.items() if child is not DROPPED}
    if isinstance(value, list):
        elements = [masked_value(child, document, f"{path}[]", hashed) for child in value]
        return [child for child in elements if child is not DROPPED]
    if value is None or mask is None or mask is Mask.KEEP:
        return value
    return _masked_scalar(value, mask, hashed)


def _masked_scalar(value: Any, mask: Mask, hashed: KeyedHash | None) -> Any:
    if mask is Mask.YEAR:
        return _year(value)
    if mask is Mask.PARTIAL:
        return partial(plain_text(value))
    if hashed is None:
        raise TypeError("a hash without its key")  # the settings were checked for it
    return hashed.text(hash_bytes(value))


def _year(value: object) -> str | None:
    """Return January 1st for the text of a date or an instant; null for anything else."""
    if not isinstance(value, str):
        return None
    try:
        return first_of_year(dt.date.fromisoformat(value)).isoformat()
    except ValueError:
        pass
    try:
        cut = first_of_year(dt.datetime.fromisoformat(value))
    except ValueError:
        return None
    return instant_text(cut) if isinstance(cut, dt.datetime) else None

"""Whether a column is personal: its name and its values together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from icetap.records.masks.rules import Mask
from icetap.records.personal.names import Kind, kind_by_name
from icetap.records.personal.values import kind_by_values

if TYPE_CHECKING:
    from collections.abc import Sequence

PROPOSED = {
    Kind.EMAIL: Mask.HASH,
    Kind.PHONE: Mask.PARTIAL,
    Kind.CARD: Mask.PARTIAL,
    Kind.CPF: Mask.HASH,
    Kind.CNPJ: Mask.HASH,
    Kind.IBAN: Mask.PARTIAL,
    Kind.IP: Mask.HASH,
    Kind.PERSON: Mask.REDACT,
    Kind.BIRTH: Mask.YEAR,
    Kind.ADDRESS: Mask.REDACT,
    Kind.DOCUMENT: Mask.HASH,
}
"""The mask that keeps most of what people do with such a column."""

_OF_DATES = {Kind.BIRTH}
_WITHOUT_SHAPE = {Kind.PERSON, Kind.ADDRESS, Kind.DOCUMENT, Kind.BIRTH}
_NUMERIC = {Kind.CARD, Kind.CPF, Kind.CNPJ, Kind.PHONE, Kind.DOCUMENT, Kind.ADDRESS}


@dataclass(frozen=True, slots=True)
class Finding:
    """What a column holds, and why it is thought so; without any value of it."""

    kind: Kind
    reason: str
    mask: Mask


def find_personal(
    path: str, *, type_name: str, stream: str = "", values: Sequence[object] = ()
) -> Finding | None:
    """Say what personal data a column holds, or None.

    Args:
        path: The column's name, or the path of a part of it.
        type_name: Its Arrow type as text: a boolean is never personal, a date only as a birth date.
        stream: The stream's name.
        values: A sample; may be empty.
    """
    if type_name in {"bool", "null"} or type_name.startswith(("double", "float", "time64")):
        return None
    named = kind_by_name(path, stream=stream)
    is_date = type_name.startswith(("date", "timestamp"))
    if is_date:
        if named not in _OF_DATES:
            return None
        return Finding(Kind.BIRTH, f"its name says: {Kind.BIRTH}", Mask.YEAR)
    if named is not None and type_name.startswith(("int", "decimal")) and named not in _NUMERIC:
        named = None
    shaped = kind_by_values(values)
    if shaped is not None:
        kind, count, total = shaped
        also = "; its name says so too" if named is kind else ""
        return Finding(
            kind, f"{count} of {total} sampled values have the form of: {kind}{also}", PROPOSED[kind]
        )
    if named is None:
        return None
    mask = Mask.REDACT if named is Kind.BIRTH else PROPOSED[named]  # a text cannot be cut to its year
    return Finding(named, f"its name says: {named}", mask)

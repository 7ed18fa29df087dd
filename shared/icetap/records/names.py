"""The one normaliser of names of the suite."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

_CAMEL_BOUNDARY = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_OTHER = re.compile(r"[^A-Za-z0-9]+")


def plain_identifier(name: str) -> str:
    """Make a name of ASCII letters, digits and underscores; the case stays.

    Accents are dropped (NFKD) and runs of other characters become one underscore. A name of which
    nothing is left becomes `column_` and eight digits of its hash, so that it stays the same.

    >>> plain_identifier("public-orders")
    'public_orders'
    >>> plain_identifier("Preço (R$)")
    'Preco_R'
    """
    decomposed = unicodedata.normalize("NFKD", name)
    ascii_only = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    plain = _OTHER.sub("_", ascii_only).strip("_")
    if plain:
        return plain
    return f"column_{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def snake_case(name: str) -> str:
    """Make a plain identifier in lower case, with camelCase split.

    >>> snake_case("HTTPStatusCode")
    'http_status_code'
    """
    return plain_identifier(_CAMEL_BOUNDARY.sub("_", name)).lower()


def distinct_names(names: Iterable[str], *, taken: Collection[str] = ()) -> list[str]:
    """Give names that differ by more than case: `_2`, `_3` in order of appearance.

    Query engines fold case, so `Id` and `id` would be one column for them.

    Args:
        names: The names in order of appearance.
        taken: Names that are in use already and stay as they are.
    """
    used = {name.casefold() for name in taken}
    distinct = []
    for name in names:
        candidate, number = name, 1
        while candidate.casefold() in used:
            number += 1
            candidate = f"{name}_{number}"
        used.add(candidate.casefold())
        distinct.append(candidate)
    return distinct

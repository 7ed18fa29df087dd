"""What the shape of values says: checksums and formats, over a sample."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from icetap.records.personal.names import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_EMAIL = re.compile(
    r"(?:[^@<>]{1,80}<)?[^@\s<>\"',;:]{1,64}@[\w-]+(\.[\w-]+)*\.[A-Za-z]{2,24}>?"  # also `Ada <ada@example.org>`
)
_CARD = re.compile(r"[2-6]\d{3}([ -]?)\d{4}\1\d{4}\1\d{1,7}|3[47]\d{2}([ -]?)\d{6}\2\d{5}")
_PHONE = re.compile(r"\+?[\d\s().-]{8,24}")
_OF_A_REGION = (
    ("FR", re.compile(r"0[1-9]([ .]\d{2}){4}")),
    ("DE", re.compile(r"0\d{2,5}( ?[/-] ?| )\d{3,8}( \d{2,4})*")),
    ("ES", re.compile(r"[6789]\d{2}([ .-]\d{3}){2}|[6789]\d{2}([ .-]\d{2}){3}")),
    ("PT", re.compile(r"[29]\d{2}( \d{3}){2}")),
    ("US", re.compile(r"\d{3}[.-]\d{3}[.-]\d{4}|\(\d{3}\) ?\d{3}-\d{4}")),
    ("MX", re.compile(r"\d{2} \d{4} \d{4}")),
)
"""How numbers are written within a country."""

_FORMATTED_PHONE = re.compile(r"\+\d|\(\d{2,3}\)|\d[\s-]\d{3,5}-\d{4}|\d{3}-\d{3}-\d{4}|\d{4,5}-\d{4}")
_BRAZILIAN_MOBILE = re.compile(r"(55)?[1-9][1-9]9\d{8}")
_CPF = re.compile(r"\d{3}\.?\d{3}\.?\d{3}-?\d{2}")
_CNPJ = re.compile(r"[0-9A-Z]{2}\.?[0-9A-Z]{3}\.?[0-9A-Z]{3}/?[0-9A-Z]{4}-?\d{2}")
_SSN = re.compile(r"\d{3}-\d{2}-\d{4}")
_DOCUMENT = re.compile(
    r"\d{8}-?[A-Z]|[XYZ]-?\d{7}-?[A-Z]"  # Spain: DNI, NIE
    r"|[A-Z]{4}\d{6}[A-Z0-9]{8}"  # Mexico: CURP
    r"|[12] ?\d{2} ?\d{2} ?\d[\dAB] ?\d{3} ?\d{3} ?\d{2}"  # France: NIR
    r"|\d{2} ?\d{3} ?\d{3} ?\d{3}"  # Germany: Steuer-Id
)
_IBAN = re.compile(r"[A-Z]{2}\d{2}( ?[A-Z0-9]{4}){2,7}( ?[A-Z0-9]{1,4})?")

FEWEST = 3
"""Values that a shape needs when a checksum fits by chance now and then."""


def _is_email(text: str) -> bool:
    return _EMAIL.fullmatch(text) is not None


# The checks are imported by the first value that has their form: most columns have none.


def _is_card(text: str) -> bool:
    if _CARD.fullmatch(text) is None:
        return False
    from stdnum import luhn  # noqa: PLC0415

    digits = re.sub(r"[ -]", "", text)
    return 13 <= len(digits) <= 19 and bool(luhn.is_valid(digits))


def _is_cpf(text: str) -> bool:
    if _CPF.fullmatch(text) is None:
        return False
    from stdnum.br import cpf  # noqa: PLC0415

    return bool(cpf.is_valid(text))


def _is_cnpj(text: str) -> bool:
    if _CNPJ.fullmatch(text) is None:
        return False
    from stdnum.br import cnpj  # noqa: PLC0415

    return bool(cnpj.is_valid(text))


def _is_iban(text: str) -> bool:
    if _IBAN.fullmatch(text) is None:
        return False
    from stdnum import iban  # noqa: PLC0415

    return bool(iban.is_valid(text))


def _is_ip(text: str) -> bool:
    text = text.partition(",")[0]  # the client of X-Forwarded-For
    if text.count(".") == 3:
        text = text.partition(":")[0]  # a port
    if text.count(".") != 3 and text.count(":") < 2:
        return False
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return False
    # 1.2.3.4 is a version as often as an address.
    return found.version == 6 or max(found.packed) > 31


def _is_phone(text: str) -> bool:
    """Say whether a text is a phone number that exists: written as one, or a Brazilian mobile number's digits."""
    if _PHONE.fullmatch(text.replace("/", "-")) is None:
        return False
    regions = [region for region, written in _OF_A_REGION if written.fullmatch(text)]
    if _FORMATTED_PHONE.search(text) or _BRAZILIAN_MOBILE.fullmatch(text):
        regions.append("BR")
    return any(_is_number_of(region, text) for region in regions)


def _is_number_of(region: str, text: str) -> bool:
    import phonenumbers  # noqa: PLC0415

    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return False
    return phonenumbers.is_valid_number(number)


def _is_document(text: str) -> bool:
    """Say whether a text is a number that a state gives to people: by its check digits, or its very form."""
    if "-" in text and _SSN.fullmatch(text):
        from stdnum.us import ssn  # noqa: PLC0415

        return bool(ssn.is_valid(text))
    if _DOCUMENT.fullmatch(text.upper()) is None:
        return False
    from stdnum.de import idnr  # noqa: PLC0415
    from stdnum.es import dni, nie  # noqa: PLC0415
    from stdnum.fr import nir  # noqa: PLC0415
    from stdnum.mx import curp  # noqa: PLC0415

    return any(kind.is_valid(text) for kind in (dni, nie, curp, nir, idnr))


@dataclass(frozen=True, slots=True)
class _Shape:
    kind: Kind
    fits: Callable[[str], bool]
    share: float
    """Of the sampled values, how many must fit."""


_SHAPES = (
    _Shape(Kind.EMAIL, _is_email, 0.5),
    _Shape(Kind.CNPJ, _is_cnpj, 0.8),
    _Shape(Kind.CPF, _is_cpf, 0.8),
    _Shape(Kind.CARD, _is_card, 0.8),
    _Shape(Kind.DOCUMENT, _is_document, 0.8),
    _Shape(Kind.IBAN, _is_iban, 0.6),
    _Shape(Kind.PHONE, _is_phone, 0.7),
    _Shape(Kind.IP, _is_ip, 0.7),
)


def kind_by_values(values: Sequence[object]) -> tuple[Kind, int, int] | None:
    """Return what a sample of values holds, how many of them fit and how many there are; None for nothing known.

    Empty values do not count. Numbers are looked at as their digits.
    """
    texts = [text for value in values if (text := _text(value))]
    if len(set(texts)) < FEWEST:
        return None
    for shape in _SHAPES:
        count = sum(map(shape.fits, texts))
        if count >= shape.share * len(texts):
            return shape.kind, count, len(texts)
    return None


def _text(value: object) -> str:
    if isinstance(value, str):
        return value.strip()
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""

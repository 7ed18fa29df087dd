"""PostgreSQL's types as exact Arrow columns: what is selected, and how both forms of a value are decoded.

https://www.postgresql.org/docs/current/datatype.html (read 2026-11-21)
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from icetap.errors import ConfigurationError
from icetap.sql.dialect import Column
from icetap.types import KIND, MAX_PRECISION, TIME, TIMESTAMP, TIMESTAMPTZ
from tap_postgres import decode, text
from tap_postgres.overflow import Overflow, range_of
from tap_postgres.wire_types import decimal_type

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from icetap.sql.dialect import Decoded

    Decoder = Callable[[pa.Array], Decoded]

_TEXT_FORMS = (
    "inet cidr macaddr macaddr8 bit varbit tsvector tsquery xml pg_lsn point line lseg box path polygon circle "
    "timetz interval cid tid regproc regprocedure regoper regoperator regclass regtype regrole regnamespace "
    "regcollation regconfig regdictionary txid_snapshot pg_snapshot jsonpath int2vector oidvector aclitem gtsvector "
    "refcursor pg_node_tree pg_ndistinct pg_dependencies pg_mcv_list pg_brin_bloom_summary "
    "pg_brin_minmax_multi_summary pg_ddl_command"
)
TEXT_FORMS = frozenset(_TEXT_FORMS.split())
"""Types of the server itself that are read as the text in which PostgreSQL shows them."""

TEXTS = frozenset({"text", "varchar", "bpchar", "name", "char", "citext"})
"""Types whose text is the value; those of `char(n)` keep the blanks at their end."""

_DECIMAL = re.compile(r"decimal\((\d{1,2}), ?(\d{1,2})\)")
_MONEY = pa.decimal128(19, 2)
_JSON = {KIND: b"json"}


@dataclass(frozen=True, slots=True)
class TypeInfo:
    """One row of `pg_type`.

    Attributes:
        kind: `b` base, `c` composite, `d` domain, `e` enum, `p` pseudo, `r` range, `m` multirange.
        base: What a domain is made of, with `base_modifier`; 0 for others.
        element: What an array holds; 0 for others.
    """

    oid: int
    schema: str
    name: str
    kind: str
    base: int
    base_modifier: int
    element: int


@dataclass(frozen=True, slots=True)
class TypeOptions:
    """The settings that choose between exact forms, and the count of what they change.

    Attributes:
        number_as: What a numeric without precision becomes: `string` or `decimal(p,s)`.
        temporal_overflow: One of `overflow.POLICIES`.
        array_as: `list` or `json`.
    """

    number_as: str = "string"
    temporal_overflow: str = "refuse"
    array_as: str = "list"
    overflows: Counter[str] = field(default_factory=Counter, repr=False)

    def __post_init__(self) -> None:
        """Refuse a decimal that cannot be.

        Raises:
            ConfigurationError: When it has more digits behind the point than in all, or none.
        """
        match = _DECIMAL.fullmatch(self.number_as)
        if match and not (1 <= int(match[1]) <= MAX_PRECISION and int(match[2]) <= int(match[1])):
            raise ConfigurationError(
                f"setting 'number_as' is '{self.number_as}'; expected 'string' or 'decimal(p,s)' with a precision p from "
                f"1 to {MAX_PRECISION} and a scale s from 0 to p, such as decimal(38,9)"
            )


@dataclass(frozen=True, slots=True)
class Reading:
    """How values of one type are read.

    `expression` and `dimensions` hold `{}` for the quoted column. `binary` decodes what was read of it, `text` the
    server's own text, None where that does not tell the value. `is_element` says that arrays are read in binary form
    of such values, element by element.
    """

    arrow_type: pa.DataType
    binary: Decoder
    text: Decoder | None
    expression: str = "{}"
    metadata: Mapping[bytes, bytes] | None = None
    is_element: bool = True
    dimensions: str | None = None
    list_binary: Callable[[pa.Array, pa.Array], Decoded] | None = None


class UnreadableTypeError(Exception):
    """No column can have this type; the text says why."""


class TypeTable:
    """The types of one database, by OID.

    Args:
        infos: All types that columns refer to, and those that these are made of.
        options: The settings that choose between exact forms.
    """

    def __init__(self, infos: Mapping[int, TypeInfo], options: TypeOptions) -> None:
        self._infos = infos
        self._options = options

    def column(
        self,
        name: str,
        oid: int,
        modifier: int,
        *,
        native_type: str,
        nullable: bool,
        unsupported: str | None = None,
        owner: str = "",
    ) -> Column:
        """Return the column of a type.

        Args:
            name: The column's name.
            oid: The type's OID.
            modifier: The type's modifier, such as a precision; -1 for none.
            native_type: The type as people write it.
            nullable: False for columns that cannot be NULL.
            unsupported: Why the column cannot be read, if it cannot.
            owner: Whose column it is, for the count of changed values.
        """
        try:
            reading = self._reading(oid, modifier, column=f"{owner}.{name}" if owner else name)
        except UnreadableTypeError as error:
            reading = _as_text()
            unsupported = unsupported or str(error)
        return _column(name, reading, native_type=native_type, nullable=nullable, unsupported=unsupported)

    def is_known(self, oid: int) -> bool:
        """Say whether the table names this type, and does not merely take its text."""
        info = self._infos[oid]
        if info.element and info.kind == "b":
            return self.is_known(info.element)
        return (
            info.kind in "cdermp"
            or info.name in TEXT_FORMS | TEXTS
            or info.name in _SCALARS
            or info.name in _EXTENSIONS
        )

    def _reading(self, oid: int, modifier: int, *, column: str) -> Reading:
        info = self._infos.get(oid)
        if info is None:
            raise UnreadableTypeError(f"its type (OID {oid}) is not in the catalogue")
        if info.kind == "d":
            return self._reading(info.base, info.base_modifier, column=column)
        if info.kind == "p":
            raise UnreadableTypeError(f"its type {info.name} is a pseudo-type; cast it")
        if info.kind == "c":
            return _as_json("to_json({})")
        if info.element and info.name not in {"int2vector", "oidvector"}:
            return self._list(info, modifier, column=column)
        if info.kind == "e":
            return _as_text()
        return self._scalar(info.name, modifier, column=column)

    def _list(self, info: TypeInfo, modifier: int, *, column: str) -> Reading:
        if self._options.array_as == "json":
            return _as_json("array_to_json({})")
        element = self._reading(info.element, modifier, column=column)
        if element.text is None:
            return _as_json("array_to_json({})")
        child = pa.field("element", element.arrow_type, metadata=element.metadata)
        if element.is_element and self._infos[info.element].kind == "b":
            return Reading(
                pa.list_(child),
                decode.as_is,
                text.list_of(child, element.text),
                dimensions="array_ndims({})",
                list_binary=decode.list_of(child, element.binary),
                is_element=False,
            )
        from_text = text.list_of(child, element.text)
        return Reading(
            pa.list_(child),
            lambda array: from_text(decode.storage(array)),
            from_text,
            "{}::text",
            is_element=False,
        )

    def _scalar(self, name: str, modifier: int, *, column: str) -> Reading:
        if name == "numeric":
            return _numeric(modifier, self._options)
        if name in _TEMPORAL:
            return _temporal(_TEMPORAL[name], column, self._options)
        return _SCALARS.get(name) or _EXTENSIONS.get(name) or _as_text(name)


def _column(
    name: str,
    reading: Reading,
    *,
    native_type: str,
    nullable: bool,
    unsupported: str | None,
) -> Column:
    read = quoted(name)
    from_text = reading.text
    field_ = pa.field(name, reading.arrow_type, nullable=nullable, metadata=reading.metadata)

    def decode_log(values: Sequence[Any]) -> Decoded:
        assert from_text is not None  # noqa: S101 - for the type checker
        return from_text(pa.array(values, pa.string()))

    column = Column(
        field=field_,
        native_type=native_type,
        expressions=(reading.expression.format(read),),
        decode=lambda arrays: reading.binary(arrays[0]),
        unsupported=unsupported,
        decode_log=None if from_text is None else decode_log,
        hint=reading,
    )
    if reading.list_binary is None or reading.dimensions is None:
        return column
    as_list = reading.list_binary
    return replace(
        column,
        expressions=(read, reading.dimensions.format(read)),
        decode=lambda arrays: as_list(arrays[0], arrays[1]),
    )


def quoted(name: str) -> str:
    """Return a name as an identifier."""
    return '"' + name.replace('"', '""') + '"'


# --- the table -------------------------------------------------------------------------------------------


def _as_text(name: str = "") -> Reading:
    """The text in which PostgreSQL shows a value; a cast of an inet would add its netmask."""
    expression = "textin(inet_out({}))" if name == "inet" else "{}::text"
    return Reading(pa.string(), decode.text, decode.text, expression, is_element=False)


def _as_json(expression: str) -> Reading:
    """JSON text that the server makes; its own text of the value is another one."""
    return Reading(pa.string(), decode.text, None, f"{expression}::text", metadata=_JSON, is_element=False)


def _numeric(modifier: int, options: TypeOptions) -> Reading:
    """Return the decimal of a precision and scale, or what `number_as` says where there are none."""
    kind = decimal_type(modifier)
    if kind is None and (match := _DECIMAL.fullmatch(options.number_as)):
        kind = pa.decimal128(int(match[1]), int(match[2]))
    if kind is None:
        return Reading(pa.string(), decode.text, decode.text, "{}::text", is_element=False)
    return Reading(kind, decode.decimal(kind), decode.decimal(kind))


def _temporal(kind: pa.DataType, column: str, options: TypeOptions) -> Reading:
    if options.temporal_overflow == "string":
        return _as_text()
    overflow = Overflow(range_of(kind), options.temporal_overflow, column, options.overflows)
    return Reading(kind, decode.bounded(overflow), text.bounded(overflow))


_TEMPORAL = {"date": pa.date32(), "time": TIME, "timestamp": TIMESTAMP, "timestamptz": TIMESTAMPTZ}

_SCALARS: dict[str, Reading] = {
    "bool": Reading(pa.bool_(), decode.as_is, text.boolean),
    "int2": Reading(pa.int32(), decode.widened(pa.int32()), text.cast(pa.int32())),
    "int4": Reading(pa.int32(), decode.as_is, text.cast(pa.int32())),
    "int8": Reading(pa.int64(), decode.as_is, text.cast(pa.int64())),
    "oid": Reading(pa.int64(), decode.as_is, text.cast(pa.int64()), "{}::int8", is_element=False),
    "xid": Reading(pa.int64(), decode.unsigned, text.cast(pa.int64()), "{}::text", is_element=False),
    "xid8": Reading(pa.int64(), decode.unsigned, decode.unsigned, "{}::text", is_element=False),
    "float4": Reading(
        pa.float64(), decode.widened(pa.float64()), text.cast(pa.float64(), through=pa.float32())
    ),
    "float8": Reading(pa.float64(), decode.as_is, text.cast(pa.float64())),
    "numeric": Reading(pa.string(), decode.text, decode.text, "{}::text", is_element=False),
    # Its text depends on the server's lc_monetary; as a numeric it has the digits that the locale gives it.
    "money": Reading(_MONEY, decode.decimal(_MONEY), None, "{}::numeric", is_element=False),
    "bytea": Reading(pa.binary(), decode.as_is, text.binary),
    "uuid": Reading(pa.uuid(), decode.as_is, text.uuids),
    "json": Reading(pa.string(), decode.text, decode.text, metadata=_JSON),
    "jsonb": Reading(pa.string(), decode.text, decode.text, metadata=_JSON),
    "text": Reading(pa.string(), decode.text, decode.text),
    "varchar": Reading(pa.string(), decode.text, decode.text),
    "bpchar": Reading(pa.string(), decode.text, decode.text),
    "name": Reading(pa.string(), decode.text, decode.text, is_element=False),
    "char": Reading(pa.string(), decode.text, decode.text, "{}::text", is_element=False),
    **{name: Reading(kind, decode.as_is, decode.as_is) for name, kind in _TEMPORAL.items()},
}
"""The types of the server itself whose values have a type of their own."""

_DOUBLES = pa.list_(pa.field("element", pa.float64()))
_HSTORE = pa.map_(pa.field("key", pa.string(), nullable=False), pa.string())


def _from_text(arrow_type: pa.DataType, decoder: Decoder) -> Reading:
    return Reading(
        arrow_type, lambda array: decoder(decode.storage(array)), decoder, "{}::text", is_element=False
    )


_EXTENSIONS: dict[str, Reading] = {
    "citext": Reading(pa.string(), decode.text, decode.text, "{}::text", is_element=False),
    "hstore": _from_text(_HSTORE, text.hstore),
    "vector": _from_text(_DOUBLES, text.vector),
    "halfvec": _from_text(_DOUBLES, text.vector),
    **{
        name: _as_text()
        for name in (
            "ltree",
            "lquery",
            "ltxtquery",
            "ltree_gist",
            "ghstore",
            "cube",
            "sparsevec",
            "geometry",
            "geography",
        )
    },
}
"""Types of extensions, by their names. Geometries are the hexadecimal EWKB that PostGIS shows."""

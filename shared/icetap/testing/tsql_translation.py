"""SQL Server's statements as SQLite's, and the types of what they select; for `icetap.testing.tsql`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlglot
from sqlglot import exp

if TYPE_CHECKING:
    from collections.abc import Callable

    from icetap.testing.tsql_catalogue import Catalogue, TableOf


@dataclass(frozen=True)
class Scope:
    """What a translation depends on beside the statement."""

    catalogue: Catalogue
    held_rowversion: int | None


def converted(node: exp.Expr, scope: Scope) -> exp.Expr:
    """Translate a tree from its leaves up."""
    for name, value in list(node.args.items()):
        if isinstance(value, exp.Expr):
            node.set(name, converted(value, scope))
        elif isinstance(value, list):
            node.set(name, [converted(one, scope) if isinstance(one, exp.Expr) else one for one in value])
    return _translate(node, scope)


def _translate(node: exp.Expr, scope: Scope) -> exp.Expr:
    """Turn one piece of T-SQL into SQLite's."""
    if isinstance(node, exp.Table) and isinstance(node.this, exp.Identifier):
        return _table(node, scope)
    if isinstance(node, exp.Convert):
        style = node.args.get("style")
        arguments = [node.expression, exp.Literal.string(node.this.sql(dialect="tsql"))]
        return exp.Anonymous(this="tds_cast", expressions=[*arguments, *([style] if style else [])])
    if isinstance(node, exp.Cast) and not isinstance(node, exp.Convert):
        return cast_call(node.this, node.to.sql(dialect="tsql"))
    if isinstance(node, exp.Collate):
        found: exp.Expr = node.this
        return found
    if isinstance(node, exp.Dot) and isinstance(node.expression, exp.Func | exp.Identifier):
        method = node.expression.name if isinstance(node.expression, exp.Identifier) else node.expression.this
        base = node.this if isinstance(node.this, exp.Column) else exp.Column(this=node.this)
        return exp.Anonymous(this="tds_method", expressions=[exp.Literal.string(str(method)), base])
    if isinstance(node, exp.Column) and node.name.lower() == "stsrid":
        method = exp.Literal.string("STSrid")
        return exp.Anonymous(this="tds_method", expressions=[method, exp.Column(this=node.args["table"])])
    if isinstance(node, exp.Parameter):
        return exp.Placeholder(this=node.name)
    if isinstance(node, exp.National):
        return exp.Literal.string(node.this)
    if isinstance(node, exp.Count) and node.args.get("big_int"):
        return exp.Count(this=node.this)
    if replacement := _FUNCTIONS.get(_function_name(node)):
        return replacement(node, scope)
    return node


def _function_name(node: exp.Expr) -> str:
    """Return a function's name in capital letters; of what is no function, nothing."""
    if isinstance(node, exp.Anonymous):
        return str(node.this).upper()
    return node.sql_name().upper() if isinstance(node, exp.Func) else ""


def _table(node: exp.Table, scope: Scope) -> exp.Expr:
    schema, name = node.db, node.name
    if schema == "sys" and name.startswith("changetable "):
        target, _, since = name.removeprefix("changetable ").rpartition(" ")
        alias = exp.TableAlias(this=exp.to_identifier(node.alias or "ct"))
        since = since.replace("@", ":")
        return exp.Subquery(
            this=sqlglot.parse_one(scope.catalogue.changes_sql(target, since), read="sqlite"), alias=alias
        )
    if not schema and scope.catalogue.find("dbo", name) is None:
        return node
    found = exp.Table(this=exp.to_identifier(f"{schema or 'dbo'}.{name}", quoted=True))
    found.set("alias", node.args.get("alias") or exp.TableAlias(this=exp.to_identifier(name, quoted=True)))
    return found


def _call(name: str) -> Callable[[exp.Expr, Scope], exp.Expr]:
    return lambda node, _scope: exp.Anonymous(this=name, expressions=_arguments(node))


def _arguments(node: exp.Expr) -> list[exp.Expr]:
    if isinstance(node, exp.Anonymous):
        return list(node.expressions)
    return [
        value
        for value in (node.this, *(node.expressions or []), node.args.get("expression"))
        if isinstance(value, exp.Expr)
    ]


def _query(sql: str) -> Callable[[exp.Expr, Scope], exp.Expr]:
    def replace(node: exp.Expr, scope: Scope) -> exp.Expr:
        arguments = _arguments(node)
        text = sql.format(
            *(one.sql(dialect="sqlite") for one in arguments), held=scope.held_rowversion or "NULL"
        )
        return sqlglot.parse_one(text, read="sqlite")

    return replace


_FUNCTIONS: dict[str, Callable[[exp.Expr, Scope], exp.Expr]] = {
    "OBJECT_ID": _call("tds_object_id"),
    "SERVERPROPERTY": _call("tds_property"),
    "HAS_PERMS_BY_NAME": _call("tds_permission"),
    "QUOTENAME": _call("quotename"),
    "CONCAT": _call("concat"),
    "SWITCHOFFSET": _call("tds_utc"),
    "DB_NAME": lambda _node, _scope: exp.Literal.string("shop"),
    "DB_ID": lambda _node, _scope: exp.Literal.number(5),
    "MIN_ACTIVE_ROWVERSION": _query('(SELECT COALESCE({held}, value + 1) FROM "sys.icetap_rowversion")'),
    "CHANGE_TRACKING_CURRENT_VERSION": _query('(SELECT value FROM "sys.icetap_version" WHERE EXISTS (SELECT 1 FROM "sys.change_tracking_databases"))'),
    "CHANGE_TRACKING_MIN_VALID_VERSION": _query('(SELECT min_valid_version FROM "sys.change_tracking_tables" WHERE object_id = {0})'),
}  # fmt: skip


def cast_call(value: exp.Expr, declared: str) -> exp.Anonymous:
    """Return the call that casts a value."""
    number = value.this if isinstance(value, exp.Neg) else value
    if isinstance(number, exp.Literal) and not number.is_string:  # SQLite would make a double of it
        value = exp.Literal.string(("-" if isinstance(value, exp.Neg) else "") + number.this)
    return exp.Anonymous(this="tds_cast", expressions=[value, exp.Literal.string(declared)])


def cast_inserted(tree: exp.Insert, table: TableOf) -> None:
    """Give the values of an INSERT the types of their columns."""
    named = (
        [one.name for one in tree.this.expressions] if isinstance(tree.this, exp.Schema) else table.writable
    )
    if not isinstance(tree.this, exp.Schema):
        tree.set(
            "this",
            exp.Schema(this=tree.this, expressions=[exp.to_identifier(name, quoted=True) for name in named]),
        )
    declared = [table.column(name).declared for name in named]
    if isinstance(tree.expression, exp.Values):
        for row in tree.expression.expressions:
            row.set(
                "expressions",
                [cast_call(value, kind) for value, kind in zip(row.expressions, declared, strict=True)],
            )
    else:
        selects = tree.expression.selects
        tree.expression.set(
            "expressions",
            [cast_call(one.unalias(), kind) for one, kind in zip(selects, declared, strict=True)],
        )


def type_of(node: exp.Expr, sources: dict[str, dict[str, str]]) -> str:
    """Infer the declared type of an expression, as far as a tap's statements need it."""
    node = node.unalias()
    if isinstance(node, exp.Convert):
        return str(node.this.sql(dialect="tsql"))
    if isinstance(node, exp.Cast):
        return str(node.to.sql(dialect="tsql"))
    if isinstance(node, exp.Column) and node.name.upper().startswith("SYS_CHANGE_"):
        return "nchar(1)" if node.name.upper() == "SYS_CHANGE_OPERATION" else "bigint"
    if isinstance(node, exp.Column):
        wanted = [sources.get(node.table.lower(), {})] if node.table else list(sources.values())
        return next((columns[node.name.lower()] for columns in wanted if node.name.lower() in columns), "int")
    if isinstance(node, exp.Literal):
        return (
            f"nvarchar({max(1, len(node.this))})"
            if node.is_string
            else "int"
            if node.this.isdigit()
            else "float"
        )
    if isinstance(node, exp.Null | exp.Parameter):
        return "nvarchar(4000)"
    if isinstance(node, exp.Case):
        return type_of(node.args["ifs"][0].args["true"], sources)
    if isinstance(node, exp.Dot):
        name = str(node.expression.this).lower()
        return {"tostring": "nvarchar(4000)", "stsrid": "int"}.get(name, "varbinary(max)")
    if isinstance(node, exp.Count):
        return "bigint" if node.args.get("big_int") else "int"
    if result := _RESULTS.get(_function_name(node)):
        return result
    inner = node.args.get("this")
    return type_of(inner, sources) if isinstance(inner, exp.Expr) else "int"


_RESULTS = {
    "DB_NAME": "nvarchar(128)", "OBJECT_ID": "int", "HAS_PERMS_BY_NAME": "int", "MIN_ACTIVE_ROWVERSION": "binary(8)",
    "CHANGE_TRACKING_CURRENT_VERSION": "bigint", "CHANGE_TRACKING_MIN_VALID_VERSION": "bigint",
}  # fmt: skip

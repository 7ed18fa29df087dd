"""Every statement that the tap makes, word for word where it matters, and all of them read by another parser."""

from __future__ import annotations

import dataclasses
import re

import pytest
import sqlglot

from icetap.errors import ConfigurationError
from icetap.sql.change_log import Followed
from icetap.sql.dialect import Selection, Table
from tap_mssql import change_tracking, connection, dialect
from tap_mssql.catalogue import CATALOGUE
from tap_mssql.change_tracking import changes_sql
from tap_mssql.dialect import MSSQLDialect
from tap_mssql.select import positional, select_sql, split_with
from tap_mssql.types import Declared, column, rule_for

COLLATION = "Latin1_General_100_CI_AS"
DECLARED = {
    "tinyint": Declared("tinyint"),
    "bigint": Declared("bigint"),
    "bit": Declared("bit"),
    "decimal": Declared("decimal", precision=10, scale=2),
    "money": Declared("money"),
    "float": Declared("float"),
    "real": Declared("real"),
    "char": Declared("char", 5, collation=COLLATION),
    "varchar": Declared("varchar", 20, collation=COLLATION),
    "varchar-long": Declared("varchar", 8000, collation=COLLATION),
    "varchar-max": Declared("varchar", -1, collation=COLLATION),
    "nvarchar": Declared("nvarchar", 40),
    "nvarchar-max": Declared("nvarchar", -1),
    "text": Declared("text", 16),
    "xml": Declared("xml", -1),
    "json": Declared("json", -1),
    "binary": Declared("binary", 4),
    "varbinary-max": Declared("varbinary", -1),
    "image": Declared("image", 16),
    "date": Declared("date"),
    "time": Declared("time", scale=7),
    "datetime": Declared("datetime"),
    "smalldatetime": Declared("smalldatetime"),
    "datetime2": Declared("datetime2", scale=7),
    "datetimeoffset": Declared("datetimeoffset", scale=3),
    "uniqueidentifier": Declared("uniqueidentifier"),
    "rowversion": Declared("timestamp", 8),
    "hierarchyid": Declared("hierarchyid", 892),
    "geometry": Declared("geometry", -1),
    "sql_variant": Declared("sql_variant", 8016),
    "vector": Declared("vector"),
}
SELECTED = {
    "tinyint": "[c]",
    "bigint": "[c]",
    "bit": "[c]",
    "decimal": "[c]",
    "money": "CAST([c] AS decimal(19,4))",
    "float": "[c]",
    "real": "[c]",
    "char": "CAST([c] AS nvarchar(5))",
    "varchar": "CAST([c] AS nvarchar(20))",
    "varchar-long": "CAST([c] AS nvarchar(max))",
    "varchar-max": "CAST([c] AS nvarchar(max))",
    "nvarchar": "[c]",
    "nvarchar-max": "[c]",
    "text": "CAST([c] AS nvarchar(max))",
    "xml": "CAST([c] AS nvarchar(max))",
    "json": "CAST([c] AS nvarchar(max))",
    "binary": "[c]",
    "varbinary-max": "[c]",
    "image": "CAST([c] AS varbinary(max))",
    "date": "[c]",
    "time": "[c]",
    "datetime": "[c]",
    "smalldatetime": "[c]",
    "datetime2": "[c]",
    "datetimeoffset": "CAST(SWITCHOFFSET([c], '+00:00') AS datetime2(7))",
    "uniqueidentifier": "CAST([c] AS char(36))",
    "rowversion": "CONVERT(char(16), CAST([c] AS binary(8)), 2)",
    "hierarchyid": "[c].ToString()",
    "geometry": "[c].AsBinaryZM(), [c].STSrid",
    "vector": "CAST([c] AS nvarchar(max))",
}
BOUND = {
    "tinyint": "CAST(? AS tinyint)",
    "bigint": "CAST(? AS bigint)",
    "bit": "CAST(? AS bit)",
    "decimal": "CAST(? AS decimal(10,2))",
    "money": "CAST(? AS money)",
    "float": "CAST(? AS float)",
    "real": "CAST(? AS real)",
    "char": f"CAST(? COLLATE {COLLATION} AS varchar(5))",
    "varchar": f"CAST(? COLLATE {COLLATION} AS varchar(20))",
    "varchar-long": f"CAST(? COLLATE {COLLATION} AS varchar(8000))",
    "varchar-max": f"CAST(? COLLATE {COLLATION} AS varchar(max))",
    "nvarchar": "?",
    "nvarchar-max": "?",
    "binary": "CONVERT(varbinary(4), ?, 2)",
    "varbinary-max": "CONVERT(varbinary(max), ?, 2)",
    "date": "CAST(? AS date)",
    "time": "CAST(? AS time(7))",
    "datetime": "CAST(CAST(? AS datetime2(7)) AS datetime)",
    "smalldatetime": "CAST(CAST(? AS datetime2(7)) AS smalldatetime)",
    "datetime2": "CAST(? AS datetime2(7))",
    "datetimeoffset": "CAST(? AS datetimeoffset(3))",
    "uniqueidentifier": "CAST(? AS uniqueidentifier)",
    "rowversion": "CONVERT(binary(8), ?, 2)",
}
DIALECT = MSSQLDialect.__new__(MSSQLDialect)


def table(*names: str, **changes) -> Table:
    columns = tuple(dataclasses.replace(column(name, DECLARED.get(name, Declared("int")))) for name in names)
    made = Table("dbo-t", "dbo", "t", "table", "[dbo].[t]", columns, position={})
    return dataclasses.replace(made, **changes)


def parses(sql: str) -> None:
    """Let sqlglot read it; it knows no CHANGETABLE."""
    sqlglot.parse_one(re.sub(r"CHANGETABLE\(CHANGES [^,]+, [^)]+\)", "changes", sql), read="tsql")


@pytest.mark.parametrize("name", list(DECLARED))
def test_each_type_is_selected_and_bound_in_its_own_form(name):
    one = column("c", DECLARED[name])
    if name in SELECTED:
        assert ", ".join(one.expressions) == SELECTED[name]
    expression = DIALECT.cursor_expression(one)
    assert (expression is None) == (name not in BOUND)
    if expression is not None:
        condition, values = positional(f"{expression} >= {DIALECT.cursor_parameter(one, number=1)}", ["v"])
        assert condition == f"[c] >= {BOUND[name]}"
        assert values == ["v"]
    parses(select_sql(Selection(table("id"), (one,), conditions=(f"[c] >= {BOUND.get(name, '?')}",))))


def test_the_base_types_of_a_variant_each_have_a_text_that_keeps_them():
    (sql,) = column("v", DECLARED["sql_variant"]).expressions
    for part in (
        "CONVERT(nvarchar(max), CAST([v] AS float), 3)",
        "WHEN N'datetime2' THEN CONVERT(nvarchar(max), CAST([v] AS datetime2(7)), 121)",
    ):
        assert part in sql


def test_a_selection_is_this_statement():
    made = table("id", "varchar", position={"id": "[id]"})
    selection = Selection(
        made,
        made.columns,
        extras=tuple(DIALECT.position_expressions(made)),
        conditions=("(x = '?@icetap1'\n)", DIALECT.after_position(made, start=1)),
        parameters=(7,),
        order=("[id]", "[id]"),
        limit=5,
    )
    sql, values = positional(select_sql(selection), selection.parameters)
    assert sql == (
        "SELECT TOP (5) [id], CAST([varchar] AS nvarchar(20)), [id] FROM [dbo].[t] "
        "WHERE (x = '?@icetap1'\n) AND [id] > CAST(? AS int) ORDER BY [id]"
    )
    assert values == [7]


def test_a_key_of_several_columns_is_spelled_out_and_its_values_repeated():
    made = table(
        "a",
        "uniqueidentifier",
        "c",
        position={"a": "[a]", "uniqueidentifier": "[uniqueidentifier]", "c": "[c]"},
    )
    sql, values = positional(DIALECT.after_position(made, start=2), [None, 1, "g", 3])
    assert sql == (
        "(([a] > CAST(? AS int)) OR ([a] = CAST(? AS int) AND [uniqueidentifier] > CAST(? AS uniqueidentifier)) OR "
        "([a] = CAST(? AS int) AND [uniqueidentifier] = CAST(? AS uniqueidentifier) AND [c] > CAST(? AS int)))"
    )
    assert values == [1, 1, "g", 1, "g", 3]


@pytest.mark.parametrize(
    ("sql", "head", "body"),
    [
        pytest.param("SELECT 1 AS a", "", "SELECT 1 AS a", id="none"),
        pytest.param("WITH x AS (SELECT 1 AS a) SELECT a FROM x", "WITH x AS (SELECT 1 AS a)", "SELECT a FROM x", id="one"),
        pytest.param("with x(a) as (select 1), [select] as (select 2 b) select * from x", "with x(a) as (select 1), [select] as (select 2 b)", "select * from x", id="two"),
        pytest.param("-- SELECT\nWITH x AS (SELECT ')' AS a) SELECT a FROM x", "-- SELECT\nWITH x AS (SELECT ')' AS a)", "SELECT a FROM x", id="comment-and-text"),
        pytest.param("(SELECT 1 AS a)", "", "(SELECT 1 AS a)", id="in-parentheses"),
    ],
)  # fmt: skip
def test_a_leading_with_stands_in_front_of_the_statement(sql, head, body):
    assert split_with(sql) == (head, body)


def test_a_with_without_a_select_is_refused():
    with pytest.raises(ConfigurationError, match="no SELECT after it"):
        split_with("WITH x AS (SELECT 1 AS a) DELETE FROM x")


def test_a_query_is_read_as_a_derived_table():
    made = table("id", kind="query", source="(WITH x AS (SELECT 1 AS id) SELECT id FROM x -- all\n)")
    sql = select_sql(Selection(made, made.columns))
    assert sql == "WITH x AS (SELECT 1 AS id)\nSELECT [id] FROM (SELECT id FROM x -- all\n) AS [q]"
    parses(sql)


STATEMENTS = {
    **{
        f"{module.__name__}.{name}": value
        for module in (dialect, connection, change_tracking)
        for name, value in vars(module).items()
        if isinstance(value, str) and value.startswith("SELECT")
    },
    "catalogue": CATALOGUE,
    "changes": changes_sql(
        Followed(
            table("id", key=("id",)),
            ("id",),
            (column("id", Declared("int")), column("x", Declared("xml", -1))),
        )
    ),
}


@pytest.mark.parametrize("name", list(STATEMENTS))
def test_every_fixed_statement_is_read_by_another_parser(name):
    parses(STATEMENTS[name])


def test_other_clr_types_are_left_out_with_the_way_out():
    one = column("c", Declared("money2", user_type="Money2"))
    assert "Money2" in one.unsupported
    assert "cast it in a view or a query" in one.unsupported
    assert rule_for(Declared("cursor")) is None

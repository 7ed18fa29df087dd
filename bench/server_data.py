"""The data of the database benchmarks: one table of 12 mixed columns, computed by the server, the same in each database.

About 217 bytes a row in PostgreSQL: integers, two decimals, a boolean, a double, short and long texts, a time with a zone
and one without, and nulls in four columns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

TABLE = "orders"
_TEXT = (
    "please deliver to the back door after six ring twice leave with neighbour customer asked about colour of box "
    "fragile glass inside keep upright second attempt was made on friday invoice goes to another address see account "
    "discount agreed by phone waits for stock from the northern depot partial shipment allowed café naïve Zürich"
)
WORDS = tuple(_TEXT.split())
STATUSES = ("paid", "open", "shipped", "returned", "cancelled")
_COLUMNS = (
    "id bigint primary key",
    "customer_id bigint not null",
    "status varchar(20) not null",
    "quantity integer",
    "unit_price decimal(10,2) not null",
    "total decimal(18,4)",
    "is_gift boolean not null",
    "email varchar(80)",
    "note text",
    "rating double precision",
)


def postgres_statements(rows: int) -> list[str]:
    """Return what makes the table in a PostgreSQL database, with its statistics."""
    columns = (*_COLUMNS, "created_at timestamptz not null", "updated_at timestamp not null")
    values = _values(
        choose=lambda number, words: f"(array[{_quoted(words)}])[1 + {number} % {len(words)}]",
        text=lambda number: f"({number})::text",
        moment=lambda seconds: f"timestamptz '2020-01-01 00:00:00+00' + make_interval(secs => {seconds})",
        local=lambda seconds: f"timestamp '2025-01-01 00:00:00' + make_interval(secs => {seconds})",
    )
    return [
        f"create table {TABLE} ({', '.join(columns)})",
        f"insert into {TABLE} select {', '.join(values)} from generate_series(1::bigint, {rows}) as numbers(g)",
        f"vacuum analyze {TABLE}",
    ]


def mariadb_statements(rows: int) -> list[str]:
    """Return what makes the table in a MariaDB database, with its statistics."""
    columns = (*_COLUMNS, "created_at timestamp(6) not null", "updated_at datetime(6) not null")
    values = _values(
        choose=lambda number, words: f"elt(1 + {number} % {len(words)}, {_quoted(words)})",
        text=lambda number: f"cast({number} as char)",
        moment=lambda seconds: f"timestampadd(microsecond, 1000000 * ({seconds}), '2020-01-01')",
        local=lambda seconds: f"timestampadd(microsecond, 1000000 * ({seconds}), '2025-01-01')",
    )
    numbers = (
        f"(select seq as g from seq_1_to_{rows}) as numbers"
        if rows
        else "(select 1 as g) as numbers where 1 = 0"
    )
    return [
        f"create table {TABLE} ({', '.join(columns)}) engine=InnoDB",
        f"insert into {TABLE} select {', '.join(values)} from {numbers}",
        f"analyze table {TABLE}",
    ]


def _values(
    *,
    choose: Callable[[str, Sequence[str]], str],
    text: Callable[[str], str],
    moment: Callable[[str], str],
    local: Callable[[str], str],
) -> list[str]:
    """Return the expressions of the columns; `g` is the row's number, and chance is computed of it.

    Args:
        choose: Returns SQL for one of the words by a number.
        text: For a number as text.
        moment: For the time so many seconds after 2020, with a zone.
        local: For the time so many seconds after 2025, without one.
    """

    def chance(number: int) -> str:
        mixed = f"((g * 48271 + {number * 69621123}) % 2147483647)"
        return f"({mixed} * {mixed} % 2147483647)"

    note = ", ".join(f"{choose(chance(20 + place), WORDS)}" for place in range(12))
    return [
        "g",
        f"{chance(1)} * 4",
        choose(chance(2), STATUSES),
        f"case when {chance(3)} % 20 = 0 then null else {chance(4)} % 100 end",
        f"({chance(5)} % 9999900) * 0.01",
        f"case when {chance(6)} % 50 = 0 then null else ({chance(7)} % 999999999) * 0.0001 end",
        f"{chance(8)} % 10 = 0",
        f"concat('customer', {text(chance(9) + ' % 1000000')}, '@mail', {text(chance(10) + ' % 50')}, '.example.com')",
        f"case when {chance(11)} % 10 = 0 then null else concat_ws(' ', {note}, {text('g')}) end",
        f"case when {chance(12)} % 3 = 0 then null else {chance(13)} / 429496729.4 end",
        moment(f"{chance(14)} % 150000000 + 0.001 * ({chance(15)} % 1000)"),
        local(f"{chance(16)} % 30000000 + 0.000001 * ({chance(17)} % 1000000)"),
    ]


def _quoted(words: Sequence[str]) -> str:
    return ", ".join(f"'{word}'" for word in words)

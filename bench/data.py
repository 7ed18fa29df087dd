"""The data of the benchmarks: one SQLite table of 12 mixed columns, the same for every run of a size.

python bench/data.py build FILE ROWS          make it
python bench/data.py change FILE ROWS         change as many rows, spread over the table
"""

from __future__ import annotations

import random
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

TABLE = "orders"
# Integers, decimals as double and as text, texts short and long, a boolean, two times, and nulls in four columns.
# Rows change: `updated_at` is the replication key of the upsert runs.
SCHEMA = """
create table orders (
    id integer primary key, customer_id bigint not null, status text not null, quantity integer, unit_price decimal(10,2),
    total text, is_gift boolean not null, email text, note text, rating real, created_at datetime not null,
    updated_at datetime not null
)
"""
INDEX = "create index orders_updated_at on orders (updated_at)"
NOTES = (
    "please deliver to the back door after six ring twice leave with neighbour customer asked about colour of box "
    "fragile glass inside keep upright second attempt was made on friday invoice goes to another address see account "
    "discount agreed by phone waits for stock from the northern depot partial shipment allowed café naïve Zürich"
)
STATUSES = ("paid", "open", "shipped", "returned", "cancelled")

Row = tuple[int | float | str | None, ...]


def rows(count: int) -> Iterator[Row]:
    """The rows of a table of `count`; always the same, about 430 bytes each as a RECORD line."""
    chance = random.Random(20261121)
    words = NOTES.split()
    notes = [" ".join(chance.choices(words, k=chance.randint(4, 8))) for _ in range(5_000)]
    days = [f"{2020 + i // 360:04d}-{i // 30 % 12 + 1:02d}-{i % 30 % 28 + 1:02d}" for i in range(1_800)]
    pick, uniform = chance.randrange, chance.random
    for number in range(1, count + 1):
        quantity = pick(1, 100)
        price = pick(100, 99_999) / 100
        second = pick(86_400)
        clock = f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"
        yield (
            number,
            pick(10_000_000_000),
            STATUSES[pick(5)],
            None if uniform() < 0.05 else quantity,
            price,
            f"{quantity * price:.2f}",
            pick(10) == 0,
            f"customer{pick(1_000_000):06d}@mail{pick(50)}.example.com",
            None if uniform() < 0.1 else f"{notes[pick(5_000)]} {notes[pick(5_000)][:12]} {number}",
            None if uniform() < 0.3 else round(uniform() * 5, 2),
            f"{days[pick(1_700)]} {clock}.{pick(1_000):03d}",
            f"{days[1_700]} {clock}.{pick(1_000_000):06d}",
        )


def build(path: Path, count: int) -> None:
    """Write the database; the file appears under its name once it is whole."""
    partial = path.with_suffix(".part")
    partial.unlink(missing_ok=True)
    with closing(sqlite3.connect(partial)) as database:
        database.execute("pragma journal_mode = off")
        database.execute("pragma synchronous = off")
        database.execute(SCHEMA)
        marks = ", ".join("?" * 12)
        database.executemany(f"insert into {TABLE} values ({marks})", rows(count))
        database.execute(INDEX)
        database.commit()
    partial.rename(path)


def change(path: Path, count: int) -> None:
    """Change every n-th row, so that `count` are changed, and give them a time after all others."""
    with closing(sqlite3.connect(path)) as database:
        (total,) = database.execute(f"select count(*) from {TABLE}").fetchone()
        database.execute(
            f"update {TABLE} set quantity = 1 + coalesce(quantity, 0), updated_at = '2026-01-01 00:00:00.000001' "
            "where id % ? = 0",
            [total // count],
        )
        database.commit()


if __name__ == "__main__":
    what, where, how_many = sys.argv[1:]
    {"build": build, "change": change}[what](Path(where), int(how_many))

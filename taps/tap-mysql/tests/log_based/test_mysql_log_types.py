"""Every type by both routes: what the log gives is what a SELECT gives, value by value."""

from __future__ import annotations

import random

import pytest

pytestmark = pytest.mark.servers

RANDOM = random.Random(20261121)


def around(low, high):
    return [low, high, 0 if low <= 0 <= high else low + 1, *(RANDOM.randint(low, high) for _ in range(4))]


def decimals(precision, scale):
    whole = precision - scale
    most = "9" * whole + ("." + "9" * scale if scale else "")
    some = [
        RANDOM.choice(["", "-"])
        + "".join(RANDOM.choices("0123456789", k=RANDOM.randint(0, whole)))
        + "0."
        + "".join(RANDOM.choices("0123456789", k=scale))
        for _ in range(4)
        if whole > 1
    ]
    return [
        "0",
        most,
        f"-{most}",
        *(text.replace("0.", ".", 1) if text[-1:] != "." else "1" for text in some),
    ]


def uuids():
    """All versions: MariaDB stores those that tell a time with their parts turned around."""
    made = ["0" * 32, "f" * 32, "123e4567e89b12d3a456426655440000", "01902d1d7e1e7abc8def000000000000"]
    for version in "1234567":
        digits = f"{RANDOM.getrandbits(128):032x}"
        made.append(f"{digits[:12]}{version}{digits[13:16]}{RANDOM.choice('89ab')}{digits[17:]}")
    return [f"'{d[:8]}-{d[8:12]}-{d[12:16]}-{d[16:20]}-{d[20:]}'" for d in made]


def addresses():
    fixed = [
        "::",
        "::1",
        "1::",
        "::ffff:1.2.3.4",
        "::1.2.3.4",
        "::0.0.1.0",
        "::0.1.0.0",
        "::ffff:0:0",
        "::fffe:1:2",
    ]
    fixed += ["1:0:2:3:4:5:6:7", "1:0:0:2:0:0:0:3", "1:0:0:2:0:0:3:4", "0:1:2:3:4:5:6:0"]
    some = [":".join(f"{RANDOM.choice([0, 0, 1, 0xFFFF]):x}" for _ in range(8)) for _ in range(20)]
    return [f"'{text}'" for text in fixed + some]


def moments(digits):
    return {
        f"DATETIME({digits})": [
            *("'2024-02-29 23:59:59.123456'", "'0001-01-01'", "'1969-12-31 23:59:58.999999'", "'0000-00-00'"),
            *("'2017-02-31 10:11:12.5'", "'2024-00-10 10:00:00'", "'9999-12-31 23:59:58'"),
        ],
        f"TIMESTAMP({digits}) NULL": [
            "'2038-01-19 03:14:06.999'",
            "'1970-01-01 00:00:01.000001'",
            "'0000-00-00'",
        ],
        f"TIME({digits})": [
            "'838:59:59'",
            "'-838:59:58.999999'",
            "'-00:00:00.1'",
            "'00:00:00.000001'",
            "'-1:2:3.4'",
        ],
    }


TYPES = {
    "TINYINT": around(-128, 127),
    "TINYINT UNSIGNED": around(0, 255),
    "TINYINT(1)": [0, 1, 127],
    "SMALLINT": around(-(2**15), 2**15 - 1),
    "SMALLINT UNSIGNED": around(0, 2**16 - 1),
    "MEDIUMINT": around(-(2**23), 2**23 - 1),
    "MEDIUMINT UNSIGNED": around(0, 2**24 - 1),
    "INT": around(-(2**31), 2**31 - 1),
    "INT UNSIGNED": around(0, 2**32 - 1),
    "INT(7) ZEROFILL": [0, 42],
    "BIGINT": around(-(2**63), 2**63 - 1),
    "BIGINT UNSIGNED": around(0, 2**64 - 1),
    **{
        f"DECIMAL({p},{s})": decimals(p, s)
        for p, s in ((1, 0), (5, 2), (9, 0), (10, 10), (18, 9), (19, 4), (27, 18))
    },
    **{f"DECIMAL({p},{s})": decimals(p, s) for p, s in ((38, 0), (38, 10), (38, 38), (65, 0), (65, 30))},
    "DECIMAL(20,5) UNSIGNED": ["0", "123.45678"],
    "FLOAT": ["0", "-0.0", "16777217", "0.1", "3.4e38", "1e-45", "-123.456"],
    "DOUBLE": ["0", "1.7976931348623157e308", "5e-324", "0.1"],
    "BIT(1)": ["b'0'", "b'1'"],
    "BIT(12)": ["b'101010101010'"],
    "BIT(63)": [2**63 - 1],
    "BIT(64)": [2**64 - 1, 0, 2**63],
    "YEAR": ["0", "1901", "2155"],
    "DATE": ["'2024-02-29'", "'0000-00-00'", "'2017-02-31'", "'2024-00-10'", "'0001-01-01'", "'9999-12-31'"],
    "DATETIME": ["'2024-02-29 23:59:59'", "'0000-00-00'", "'2017-02-31 01:02:03'"],
    "TIMESTAMP NULL": ["'2024-02-29 23:59:59'", "'0000-00-00'"],
    "TIME": ["'838:59:59'", "'-00:00:01'"],
    **{name: values for digits in range(1, 7) for name, values in moments(digits).items()},
    "ENUM('a','b','c''d','é')": ["'a'", "'é'", "'c''d'", "0"],
    "ENUM('x','ü') CHARACTER SET latin1": ["'x'", "'ü'"],
    "SET('a','b','c','dé')": ["''", "'c,a'", "'dé'", "'a,b,c,dé'"],
    "CHAR(10)": ["'a'", "'a  '", "''", "'éü€😀'"],
    "VARCHAR(300)": ["'a '", "''", "repeat('é', 300)"],
    **{
        f"VARCHAR(50) CHARACTER SET {charset}": [text, "''"]
        for charset, text in (
            *(("latin1", "'é€abc'"), ("ascii", "'abc'"), ("utf8mb3", "'é中'"), ("ucs2", "'é中'")),
            *(("utf16", "'é中😀'"), ("utf16le", "'é中😀'"), ("utf32", "'é中😀'"), ("gbk", "'中文abc'")),
            *(
                ("sjis", "'日本〜'"),
                ("big5", "'中文'"),
                ("cp1251", "'Жя'"),
                ("koi8r", "'Жя'"),
                ("latin2", "'Łódź'"),
            ),
        )
    },
    "VARCHAR(9) CHARACTER SET latin1 COLLATE latin1_bin": ["x'81'", "x'8d'"],
    "TEXT": ["'abc é'", "repeat('é', 300)"],
    "MEDIUMTEXT CHARACTER SET latin1": ["repeat('ü', 70000)"],
    "BINARY(5)": ["x'00'", "x'0102030405'", "x'6100'", "''"],
    "BINARY(16)": [f"x'{'00' * 16}'", f"x'ff{'00' * 15}'"],
    "VARBINARY(20)": ["x'ff00'", "''", "x'00'"],
    "VARBINARY(400)": ["repeat(x'ff', 400)"],
    "LONGBLOB": ["repeat(x'01', 70000)", "x''"],
    "JSON": ['\'{"a": 1.10, "b":[1,2]}\'', "'null'", "'\"é\"'"],
    "GEOMETRY": ["POINT(1, 2)", "ST_GeomFromText('LINESTRING(0 0,1 1)')"],
    "POINT": ["ST_GeomFromText('POINT(1 2)', 4326)"],
    "UUID": uuids(),
    "INET6": addresses(),
    "INET4": ["'1.2.3.4'", "'0.0.0.0'", "'10.0.0.0'"],
    "VARCHAR(100) COMPRESSED": ["repeat('abc', 30)", "'x'", "''"],
    "TEXT COMPRESSED": ["repeat('é', 2000)", "''"],
    "BLOB COMPRESSED": ["repeat(x'00ff', 3000)", "x'00'"],
}
ROWS = max(len(values) for values in TYPES.values()) + 1
"""The last one is of nulls."""


@pytest.mark.parametrize("metadata", ["FULL", "MINIMAL", "NO_LOG"])
def test_values_from_the_log_equal_those_of_a_select(log, set_global, metadata):
    set_global(binlog_row_metadata=metadata)
    names = [f"c{number}" for number in range(len(TYPES))]
    columns = ", ".join(f"{name} {kind}" for name, kind in zip(names, TYPES, strict=True))
    log.execute("SET sql_mode = 'ALLOW_INVALID_DATES'", f"CREATE TABLE t (id INT PRIMARY KEY, {columns})")
    log.run()
    rows = [
        ", ".join(str(values[row % len(values)]) if row < ROWS - 1 else "NULL" for values in TYPES.values())
        for row in range(ROWS)
    ]
    from_log = {
        record["id"]: record
        for record in log.records(
            "SET sql_mode = 'ALLOW_INVALID_DATES'",
            *(f"INSERT INTO t VALUES ({number}, {row})" for number, row in enumerate(rows)),
        )
    }
    log.settings["streams"] = {"*": {"replication_method": "FULL_TABLE"}}
    log.state = None
    selected = {record["id"]: record for record in log.run().records()}

    assert len(selected) == ROWS
    never_null = [
        name for name, kind in zip(names, TYPES, strict=True) if "DATE" not in kind and "STAMP" not in kind
    ]
    assert all(
        record[name] is not None
        for record in selected.values()
        for name in never_null
        if record["id"] < ROWS - 1
    )
    differences = {
        kind: (TYPES[kind][number % len(TYPES[kind])], from_log[number].get(name), record[name])
        for number, record in selected.items()
        for name, kind in zip(names, TYPES, strict=True)
        if from_log[number].get(name) != record[name]
    }
    assert not differences


@pytest.mark.parametrize("policy", ["string", "epoch"])
def test_invalid_dates_follow_the_policy_as_in_a_select(log, policy):
    log.settings["zero_date"] = policy
    log.execute(
        "SET sql_mode = 'ALLOW_INVALID_DATES'",
        "CREATE TABLE t (id INT PRIMARY KEY, a DATE, b DATETIME(3), c TIMESTAMP(2) NULL)",
    )
    log.run()
    from_log = log.records(
        "SET sql_mode = 'ALLOW_INVALID_DATES'",
        "INSERT INTO t VALUES (1, '2017-02-31', '0000-00-00', '0000-00-00')",
        "INSERT INTO t VALUES (2, '2024-01-02', '2024-01-02 03:04:05.678', '2024-01-02 03:04:05.67')",
    )
    log.settings["streams"] = {"*": {"replication_method": "FULL_TABLE"}}
    log.state = None

    assert from_log == log.run().records()

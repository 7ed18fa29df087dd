"""Our writer against Spark's MERGE, rewrite_data_files and expire_snapshots, in turns and side by side."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from icetap.testing.engines import Spark, spark_session

from .test_races import KEYS, Race, _stopping, changes, keyed, mode, play  # noqa: F401 - two are fixtures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.servers, pytest.mark.timeout(1800)]

ROUNDS = [
    pytest.param(20, id="20 rounds"),
    pytest.param(200, id="200 rounds", marks=[pytest.mark.soak, pytest.mark.timeout(14_400)]),
]
REWRITE = (
    "CALL icetap.system.rewrite_data_files(table => 'raw.s', options => map('min-input-files', '2', "
    "'delete-file-threshold', '1', 'remove-dangling-deletes', 'true'))"
)
EXPIRE = "CALL icetap.system.expire_snapshots(table => 'raw.s', older_than => TIMESTAMP '{until}', retain_last => 1)"
MERGE = (
    "MERGE INTO icetap.raw.s t USING (SELECT * FROM VALUES {rows} AS given(id, value)) u ON t.id = u.id "
    "WHEN MATCHED THEN UPDATE SET t.value = u.value WHEN NOT MATCHED THEN INSERT (id, value) VALUES (u.id, u.value)"
)
REFUSALS = (
    "ValidationException",
    "CommitFailed",
    "conflict",
    "concurrently modified",
    "UncheckedSQLException",
    "locked",
)


@pytest.fixture
def spark(keyed: Race) -> Iterator[Spark]:  # noqa: F811
    warehouse = keyed.config["warehouse"]
    with spark_session(
        {"uri": f"sqlite:///{warehouse}/catalog.db", "warehouse": f"file://{warehouse}"}
    ) as one:
        yield one


def statement(number: int, rows: list[dict[str, Any]]) -> str:
    """What Spark does in a round: of three, one merge of the very keys that our writer has too."""
    match number % 3:
        case 0:
            return MERGE.format(rows=", ".join(f"({row['id']}L, '{row['value']}')" for row in rows))
        case 1:
            return REWRITE
        case _:
            return EXPIRE.format(until="2100-01-01 00:00:00")


def side_by_side(actors: dict[str, Callable[[], Any]]) -> None:
    """Run actors at the same time, as it comes."""
    errors: list[BaseException] = []

    def act(one: Callable[[], Any]) -> None:
        try:
            one()
        except BaseException as error:  # noqa: BLE001 -- told by the assertion below
            errors.append(error)

    threads = [threading.Thread(target=act, args=(one,)) for one in actors.values()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


@pytest.mark.parametrize("rounds", ROUNDS)
def test_spark_and_our_writer_lose_and_double_nothing(keyed: Race, spark: Spark, rounds: int) -> None:  # noqa: F811
    model = dict(keyed.rows())
    refused = 0
    for number in range(rounds):
        if number == rounds // 2:
            spark.sql("ALTER TABLE icetap.raw.s SET TBLPROPERTIES ('write.merge.mode' = 'merge-on-read')")
        ours = changes(number, name="ours")
        theirs = changes(number + 3, name="spark") if number % 3 == 0 else []
        said: list[str] = []

        def run(command: str = statement(number, theirs), said: list[str] = said) -> None:
            try:
                spark.sql(command)
            except RuntimeError as error:
                said.append(str(error))

        writer = keyed.loader(keyed.messages(ours), merge_mode=mode(number))
        if number % 2:
            side_by_side({"writer": writer, "spark": run})
        else:
            play(number, {"writer": writer, "spark": run})
        # Spark may refuse its own statement because of our commit: then it did nothing.
        assert all(any(word in text for word in REFUSALS) for text in said), said
        refused += len(said)
        allowed = {key: {value} for key, value in model.items()}
        for row in theirs:
            allowed[row["id"]] = {row["value"]} | (allowed.get(row["id"], {None}) if said else set())
        for row in ours:
            is_shared = row["id"] in {one["id"] for one in theirs}
            allowed[row["id"]] = {row["value"]} | (allowed[row["id"]] if is_shared else set())
        found = dict(keyed.rows())
        assert len(found) == len(keyed.rows()), number
        assert {key: value for key, value in found.items() if value not in allowed.get(key, ())} == {}, number
        assert {key for key in allowed if key not in found and None not in allowed[key]} == set(), number
        # Spark's compaction may leave deletes behind that are meant for files it has rewritten.
        assert [text for text in keyed.findings() if "dangles" not in text] == [], number
        model = found
    keyed.keeper()()
    assert sorted(model.items()) == keyed.rows()
    assert keyed.findings() == []
    assert refused < rounds

"""What is true of every target."""

from __future__ import annotations

import json
import signal
import time
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from icetap.testing.findings import leak_findings
from icetap.testing.subject import CANARY, SECRET_CANARY, finish

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from icetap.testing.subject import Outcome, Subject

TERMINATED = 128 + signal.SIGTERM
SDK_REFUSED = frozenset({"invalid_schema", "record_before_schema"})
"""Input files of the SDK's tests that a target must refuse."""

SDK_UNFIT = frozenset({"record_missing_key_property", "record_missing_required_property"})
"""Input files with bad records, which go to quarantine or stop the run, by contract."""

SCHEMA = {
    "type": "SCHEMA",
    "stream": "orders",
    "schema": {
        "type": "object",
        "properties": {"id": {"type": "integer"}, "note": {"type": ["string", "null"]}},
    },
    "key_properties": ["id"],
    "bookmark_properties": ["id"],
}


def record(number: int, note: str | None = "a note") -> dict[str, Any]:
    """A RECORD of the stream `orders`."""
    return {"type": "RECORD", "stream": "orders", "record": {"id": number, "note": note}}


def state(number: int) -> dict[str, Any]:
    """A STATE whose bookmark of `orders` is a number."""
    bookmark = {"replication_key": "id", "replication_key_value": number}
    return {"type": "STATE", "value": {"bookmarks": {"orders": bookmark}}}


def lines(*messages: Mapping[str, Any]) -> bytes:
    """Singer lines."""
    return b"".join(json.dumps(message).encode() + b"\n" for message in messages)


def load(target: Subject, folder: Path, *messages: Mapping[str, Any], log: str = "INFO") -> Outcome:
    """Load messages into a folder of this suite."""
    config = target.make_sample(folder).config
    return target.run(config=config, stdin=lines(*messages), environ={"LOGLEVEL": log})


def loaded(target: Subject, folder: Path) -> list[tuple[int, str | None]]:
    """What has been loaded, by key."""
    return sorted((row["id"], row["note"]) for row in target.sample_module.rows(folder, "orders"))


def states(outcome: Outcome) -> list[Any]:
    """The bookmarks on stdout, which must hold nothing else."""
    return [json.loads(line)["bookmarks"]["orders"]["replication_key_value"] for line in outcome.lines]


def test_records_arrive_and_the_state_after_them_is_printed(target: Subject) -> None:
    folder = target.new_folder()

    outcome = load(target, folder, SCHEMA, record(1), record(2, None), state(2))

    assert outcome.exit_code == 0, outcome.stderr[-2000:]
    assert loaded(target, folder) == [(1, "a note"), (2, None)]
    assert states(outcome)[-1:] == [2]


def test_loading_the_same_again_changes_nothing(target: Subject) -> None:
    folder = target.new_folder()
    messages: Sequence[Mapping[str, Any]] = (SCHEMA, record(1), record(2), state(2))

    outcomes = [load(target, folder, *messages) for _ in range(2)]

    assert [outcome.exit_code for outcome in outcomes] == [0, 0]
    assert loaded(target, folder) == [(1, "a note"), (2, "a note")]


def test_the_newest_record_of_a_key_wins(target: Subject) -> None:
    folder = target.new_folder()

    load(target, folder, SCHEMA, record(1, "old"), record(2, "first"), record(2, "second"), state(2))
    load(target, folder, SCHEMA, record(1, "new"), state(3))

    assert loaded(target, folder) == [(1, "new"), (2, "second")]


def test_no_value_of_a_record_is_logged(target: Subject) -> None:
    wrong = {"type": "RECORD", "stream": "orders", "record": {"id": CANARY, "note": CANARY}}

    outcome = load(target, target.new_folder(), SCHEMA, record(1, CANARY), wrong, state(1), log="DEBUG")

    assert list(leak_findings(outcome, CANARY, on_stdout=True)) == []


def test_no_secret_is_logged_when_a_load_fails(target: Subject) -> None:
    config = target.make_sample(target.new_folder()).config

    outcome = target.run(
        config=config, stdin=lines(SCHEMA, record(1)) + b"nonsense\n", environ={"LOGLEVEL": "DEBUG"}
    )

    assert outcome.exit_code != 0
    assert list(leak_findings(outcome, SECRET_CANARY, on_stdout=True)) == []


def test_input_that_is_no_message_is_told_by_its_line_without_its_text(target: Subject) -> None:
    folder = target.new_folder()
    config = target.make_sample(folder).config

    outcome = target.run(config=config, stdin=lines(SCHEMA, record(1)) + f"not json {CANARY}\n".encode())

    assert outcome.exit_code != 0
    assert "line 3" in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert list(leak_findings(outcome, CANARY, on_stdout=True)) == []


def test_a_record_before_its_schema_is_told(target: Subject) -> None:
    outcome = load(target, target.new_folder(), record(1))

    assert outcome.exit_code != 0
    assert "orders" in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_the_state_does_not_pass_what_was_not_loaded(target: Subject) -> None:
    folder = target.new_folder()
    config = target.make_sample(folder).config
    cut = lines(SCHEMA, record(1), state(1), record(2)) + b'{"type": "RECORD", "stream": "orders", "rec'

    outcome = target.run(config=config, stdin=cut)

    assert outcome.exit_code != 0
    assert all(value <= 1 for value in states(outcome))


def test_empty_input_changes_nothing(target: Subject) -> None:
    outcome = load(target, target.new_folder())

    assert outcome.exit_code == 0, outcome.stderr[-2000:]
    assert outcome.stdout == b""


def test_the_sdks_own_input_is_loaded(target: Subject) -> None:
    """All of it in one go: each file has streams of its own."""
    loadable = [name for name in _sdk_inputs() if name not in SDK_REFUSED | SDK_UNFIT]
    content = b"".join(_sdk_inputs()[name] for name in loadable)

    outcome = target.run(config=target.make_sample(target.new_folder()).config, stdin=content)

    assert outcome.exit_code == 0, outcome.stderr[-3000:]


@pytest.mark.parametrize("name", sorted(SDK_REFUSED))
def test_the_sdks_wrong_input_is_refused(target: Subject, name: str) -> None:
    outcome = target.run(config=target.make_sample(target.new_folder()).config, stdin=_sdk_inputs()[name])

    assert outcome.exit_code != 0
    assert "Traceback" not in outcome.stderr


def _sdk_inputs() -> dict[str, bytes]:
    """The input files of the Singer SDK's own tests of targets, by name."""
    folder = resources.files("singer_sdk.testing.target_test_streams")
    return {
        file.name.removesuffix(".singer"): file.read_bytes()
        for file in folder.iterdir()
        if file.name.endswith(".singer")
    }


def test_sigterm_ends_with_143_and_whole_states(target: Subject) -> None:
    folder = target.new_folder()
    with target.start(config=target.make_sample(folder).config) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(lines(SCHEMA, record(1), state(1), record(2)))
        process.stdin.flush()
        process.stderr.readline()  # it is awake: its handlers are set before it logs
        _until_it_reads(process.pid)
        process.send_signal(signal.SIGTERM)
        outcome = finish(process)

    assert outcome.exit_code == TERMINATED, f"SIGTERM ended the run with exit code {outcome.exit_code}"
    printed = states(outcome)
    assert printed in ([], [1])
    if printed:
        assert loaded(target, folder)[0] == (1, "a note"), (
            "a STATE was printed for a record that is not there"
        )
    assert "Traceback" not in outcome.stderr


def _until_it_reads(pid: int) -> None:
    """Wait until a process sleeps in a system call: it waits for more input."""
    end, quiet = time.monotonic() + 30, 0
    while quiet < 5 and time.monotonic() < end:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        quiet = quiet + 1 if fields[0] == "S" else 0
        time.sleep(0.1)

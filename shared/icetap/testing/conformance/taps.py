"""What is true of every tap."""

from __future__ import annotations

import json
import signal
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from icetap.testing.findings import (
    catalog_findings,
    key_findings,
    leak_findings,
    line_findings,
    record_findings,
)
from icetap.testing.subject import CANARY, LARGE_ROWS, finish

if TYPE_CHECKING:
    import subprocess

    from icetap.testing.samples import Sample
    from icetap.testing.subject import Outcome, Subject

TERMINATED = 128 + signal.SIGTERM
FEW_ROWS = 2_000
GROWTH_BYTES = 40 * 1024 * 1024
"""By how much a run over `LARGE_ROWS` may exceed one over `FEW_ROWS`: allocators and pools vary."""


def test_discovery_is_stable(tap: Subject) -> None:
    again = tap.run("--discover", config=tap.sample.config, environ={"PYTHONHASHSEED": "1"}).stdout

    assert again == tap.printed_catalog(tap.sample), "two discoveries of one source differ"
    assert json.loads(again)["streams"]


def test_the_catalog_is_sound(tap: Subject) -> None:
    assert list(catalog_findings(tap.catalog)) == []


def test_stdout_holds_only_singer_lines(tap: Subject) -> None:
    assert list(line_findings(tap.first_run)) == []


def test_every_record_of_the_source_arrives(tap: Subject) -> None:
    assert tap.first_run.exit_code == 0, tap.first_run.stderr[-2000:]
    assert {stream: len(tap.first_run.records(stream)) for stream in tap.sample.rows} == dict(tap.sample.rows)


def test_keys_are_unique_and_present(tap: Subject) -> None:
    assert list(key_findings(tap.first_run)) == []


def test_records_match_their_schema(tap: Subject) -> None:
    assert list(record_findings(tap.first_run)) == []


def test_the_first_message_says_where_the_run_starts(tap: Subject) -> None:
    first = tap.first_run.messages[0]

    assert first["type"] == "STATE", (
        "the first message is not a STATE: the target cannot see where the run starts"
    )
    assert first["value"].get("bookmarks") == {}


def test_the_run_ends_with_a_state_without_unfinished_marks(tap: Subject) -> None:
    last = tap.first_run.messages[-1]

    assert last["type"] == "STATE"
    assert "progress_markers" not in json.dumps(last, default=str)


def test_no_value_of_a_record_is_logged(tap: Subject) -> None:
    assert CANARY.encode() in tap.first_run.stdout, "the sample has no canary in its records"
    assert list(leak_findings(tap.first_run, CANARY, on_stdout=False)) == []


def test_second_run_emits_only_what_changed(tap: Subject) -> None:
    folder = tap.new_folder()
    sample = tap.make_sample(folder)
    first = tap.read(sample)

    same = tap.read(sample, state=first.state)
    changed = tap.sample_module.change(folder)
    second = tap.read(sample, state=same.state)

    assert sample.incremental, "the sample names no incremental stream"
    for stream in sample.incremental:
        assert first.records(stream)
        assert _unexpected(same, stream, expected=[], state=first.state) == []
        assert _unexpected(second, stream, expected=changed[stream], state=same.state) == []
        missing = set(map(str, changed[stream])) - {str(key) for key in _keys(second, stream)}
        assert not missing, f"stream {stream}: {len(missing)} changed records did not come"


def _unexpected(
    outcome: Outcome, stream: str, *, expected: list[Any], state: dict[str, Any] | None
) -> list[str]:
    """Records that neither changed nor lie at the bookmark, which is inclusive."""
    assert outcome.exit_code == 0, outcome.stderr[-2000:]
    bookmark = ((state or {}).get("bookmarks") or {}).get(stream) or {}
    cursor, value = str(bookmark.get("replication_key")), bookmark.get("replication_key_value")
    if value is None:
        return [f"stream {stream}: the state has no bookmark"]
    wanted = set(map(str, expected))
    strangers = [
        record
        for key, record in zip(_keys(outcome, stream), outcome.records(stream), strict=True)
        if str(key) not in wanted and not _same_instant(record.get(cursor), value)
    ]
    return (
        [f"stream {stream}: {len(strangers)} records came again although nothing had changed"]
        if strangers
        else []
    )


def _same_instant(one: Any, other: Any) -> bool:
    """Whether two cursors are equal, be they texts of one instant with other offsets or digits."""
    try:
        moments = [datetime.fromisoformat(str(each)) for each in (one, other)]
    except ValueError:
        return str(one) == str(other)
    aware = [each if each.tzinfo else each.replace(tzinfo=UTC) for each in moments]
    return aware[0] == aware[1]


def _keys(outcome: Outcome, stream: str) -> list[Any]:
    schema = outcome.schemas().get(stream) or {}
    names = schema.get("key_properties") or ()
    keys = [tuple(record[name] for name in names) for record in outcome.records(stream)]
    return [key[0] if len(key) == 1 else key for key in keys]


def test_sigterm_ends_the_run_with_143_after_a_whole_line(tap: Subject) -> None:
    sample = tap.large_sample
    with tap.start(*tap.reading(sample), config=sample.config) as process:
        head = _first_output(process)
        process.send_signal(signal.SIGTERM)
        outcome = finish(process)

    assert outcome.exit_code == TERMINATED, f"SIGTERM ended the run with exit code {outcome.exit_code}"
    whole = head + outcome.stdout
    assert whole.endswith(b"\n"), "the last line is cut"
    assert all(json.loads(line) for line in whole.splitlines())
    assert "Traceback" not in outcome.stderr


def _first_output(process: subprocess.Popen[bytes]) -> bytes:
    """Return a tap's first lines; then it is in the middle of its records: the pipe is full and nobody reads."""
    assert process.stdout is not None
    found = b""
    while len(found) < 4096 and (piece := process.stdout.read(4096)):
        found += piece
    return found


def test_a_target_that_is_gone_ends_the_run_without_a_traceback(tap: Subject) -> None:
    sample = tap.large_sample
    with tap.start(*tap.reading(sample), config=sample.config) as process:
        _first_output(process)
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        log = process.stderr.read().decode()
        code = process.wait(timeout=60)

    assert code != 0
    assert "Traceback" not in log


def test_memory_is_flat(tap: Subject) -> None:
    few = _peak(tap, tap.make_sample(tap.new_folder(), rows=FEW_ROWS))
    many = _peak(tap, tap.large_sample)

    grown = (many - few) / 2**20
    assert many - few < GROWTH_BYTES, f"{LARGE_ROWS} rows took {grown:.0f} MB more than {FEW_ROWS}"


def _peak(tap: Subject, sample: Sample) -> int:
    outcome = tap.read(sample)
    assert outcome.exit_code == 0, outcome.stderr[-2000:]
    return outcome.peak_bytes


def test_preview_shows_the_first_records(tap: Subject) -> None:
    stream = next(iter(tap.sample.incremental))

    outcome = tap.run("--preview", stream, "--limit", "3", config=tap.sample.config)

    shown = json.loads(outcome.stdout)
    names = [column["name"] for column in shown["columns"]]
    assert len(shown["rows"]) == min(3, tap.sample.rows[stream])
    assert shown["more"] is (tap.sample.rows[stream] > len(shown["rows"]))
    assert all(set(row) <= set(names) for row in shown["rows"])


def test_preview_of_an_unknown_stream_names_the_nearest(tap: Subject) -> None:
    stream = next(iter(tap.sample.incremental))

    outcome = tap.run("--preview", f"{stream}q", config=tap.sample.config)

    assert outcome.exit_code != 0
    assert stream in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_browse_lists_what_discovery_finds(tap: Subject) -> None:
    shown = json.loads(tap.run("--browse", config=tap.sample.config).stdout)

    streams = {table["stream"] for table in shown["tables"] if table.get("supported", True)}
    assert streams == {stream["tap_stream_id"] for stream in tap.catalog["streams"]}


def test_the_settings_can_be_tested(tap: Subject) -> None:
    outcome = tap.run("--test", config=tap.sample.config)

    assert outcome.exit_code == 0, outcome.stdout.decode() + outcome.stderr[-2000:]
    assert all(line.startswith("ok") for line in outcome.lines)
    assert outcome.lines

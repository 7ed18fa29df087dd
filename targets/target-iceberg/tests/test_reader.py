"""From bytes to runs and messages: what a tap may write, and what is refused with the line's number."""

import json
import logging
import os
import signal
import threading
import time

import pytest

from icetap.errors import DataError
from target_iceberg.decoding import reader
from target_iceberg.decoding.json_text import NumberText, dump_json, parse_json
from target_iceberg.decoding.reader import Message, Run, Tick, messages

CLASSIC = b'{"type": "RECORD", "stream": "orders", "record": {"id": %d}}\n'
STATE = b'{"type": "STATE", "value": {"bookmarks": {}}}\n'


def read(data: bytes, tmp_path) -> list:
    path = tmp_path / "input.jsonl"
    path.write_bytes(data)
    with path.open("rb") as file:
        return list(messages(file.fileno(), tick_seconds=60))


def read_until_error(data: bytes, tmp_path) -> tuple[list, DataError]:
    path = tmp_path / "input.jsonl"
    path.write_bytes(data)
    items: list = []
    with path.open("rb") as file, pytest.raises(DataError) as raised:
        items.extend(messages(file.fileno(), tick_seconds=60))
    return items, raised.value


def lines_of(items: list) -> list[tuple[str, int, dict]]:
    """Every RECORD as (stream, line number, record)."""
    return [
        (run.stream, run.line_of(row), json.loads(line)["record"])
        for run in items
        if isinstance(run, Run)
        for row, line in enumerate(run.lines.splitlines())
    ]


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b'{"type": "RECORD", "stream": "orders", "record": {"id": 1}}', id="classic"),
        pytest.param(b'{"type":"RECORD","stream":"orders","record":{"id":1}}', id="compact"),
        pytest.param(b'{"stream":"orders","type":"RECORD","record":{"id":1}}', id="stream-first"),
        pytest.param(b'{"record": {"id": 1}, "stream": "orders", "type": "RECORD"}', id="record-first"),
        pytest.param(b'  {\t"type" :"RECORD" , "stream": "orders","record":{"id":1} } ', id="white-space"),
        pytest.param(
            b'{"type":"RECORD","version":7,"stream":"orders","record":{"id":1}}', id="version-between"
        ),
        pytest.param(b'{"type":"RECORD","stream":"\\u006frders","record":{"id":1}}', id="escaped-name"),
        pytest.param(b'{"type":"RECORD","stream":"orders","record":{"id":1}}\r', id="carriage-return"),
        pytest.param(
            b'{"record":{"id":1,"type":"STATE","stream":"x"},"type":"RECORD","stream":"orders"}', id="decoys"
        ),
    ],
)
def test_a_record_is_known_whatever_its_key_order_and_white_space(line, tmp_path):
    items = read(CLASSIC % 0 + line + b"\n" + CLASSIC % 2, tmp_path)

    assert [(stream, number, record["id"]) for stream, number, record in lines_of(items)] == [
        ("orders", 1, 0),
        ("orders", 2, 1),
        ("orders", 3, 2),
    ]
    assert len(items) == 1


def test_a_run_says_how_much_the_tap_wrote(tmp_path):
    odd = b'{"record": {"id": 1}, "stream": "orders", "type": "RECORD"}\n'
    data = CLASSIC % 1 + CLASSIC % 2 + odd + CLASSIC % 3

    (run,) = read(data, tmp_path)

    assert run.input_bytes == len(data)
    assert (
        run.lines == b'{ "record": {"id": 1}}\n{ "record": {"id": 2}}\n' + odd + b'{ "record": {"id": 3}}\n'
    )


def test_a_head_inside_a_record_is_left_alone(tmp_path):
    inner = b'{"type": "RECORD", "stream": "orders", "record": {}}'
    data = b'{"type": "RECORD", "stream": "orders", "record": {"id": %s}}\n' % inner

    (run,) = read(data * 3, tmp_path)

    assert [json.loads(line)["record"]["id"] for line in run.lines.splitlines()] == [json.loads(inner)] * 3


def test_streams_that_alternate_line_by_line_are_read_in_linear_time(tmp_path):
    one = b"".join(CLASSIC % i for i in range(60_000))
    two = one.replace(b'orders", "record": {"id": 1', b'others", "record": {"id": 1')
    times = []
    for data in (one, two):
        start = time.process_time()
        items = read(data, tmp_path)
        times.append(time.process_time() - start)
        assert sum(item.count for item in items) == 60_000

    assert times[1] < max(20 * times[0], 1.0)


def test_records_of_interleaved_streams_make_one_run_each_with_their_line_numbers(tmp_path):
    data = b"".join(
        b'{"type":"RECORD","stream":"%s","record":{"id":%d}}\n' % (stream, i)
        for i, stream in enumerate([b"a", b"b", b"a", b"a", b"b"])
    )

    items = read(data, tmp_path)

    assert [(run.stream, run.count) for run in items] == [("a", 3), ("b", 2)]
    assert [(s, n, r["id"]) for s, n, r in lines_of(items)] == [
        ("a", 1, 0), ("a", 3, 2), ("a", 4, 3), ("b", 2, 1), ("b", 5, 4),
    ]  # fmt: skip


def test_rows_never_move_past_a_state(tmp_path):
    items = read(CLASSIC % 1 + STATE + CLASSIC % 2 + STATE, tmp_path)

    assert [item.first_line if isinstance(item, Run) else item.type for item in items] == [
        1,
        "STATE",
        3,
        "STATE",
    ]


def test_a_run_is_handed_on_when_it_is_large_enough(tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "RUN_BYTES", 10_000)
    monkeypatch.setattr(reader, "READ_BYTES", 1_000)

    items = read(b"".join(CLASSIC % i for i in range(1_000)), tmp_path)

    assert len(items) > 3
    assert [record["id"] for _, _, record in lines_of(items)] == list(range(1_000))
    assert [number for _, number, _ in lines_of(items)] == list(range(1, 1_001))


@pytest.mark.parametrize("block", [1, 7, 64, 1000])
def test_blocks_may_cut_lines_anywhere(block, tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "READ_BYTES", block)
    data = b"\xef\xbb\xbf" + CLASSIC % 1 + b"\n  \n" + CLASSIC % 2 + STATE + CLASSIC % 3

    items = read(data, tmp_path)

    assert [(n, r["id"]) for _, n, r in lines_of(items)] == [(1, 1), (4, 2), (6, 3)]
    assert items[1] == Message("STATE", {"type": "STATE", "value": {"bookmarks": {}}}, 5)


def test_a_line_of_20_mb_is_read(tmp_path):
    text = b"x" * (20 << 20)
    items = read(CLASSIC % 1 + b'{"type":"RECORD","stream":"orders","record":{"t":"%s"}}\n' % text, tmp_path)

    assert [len(record.get("t", "")) for _, _, record in lines_of(items)] == [0, 20 << 20]


def test_a_complete_last_line_needs_no_line_feed(tmp_path):
    assert [item.type for item in read(STATE.rstrip(), tmp_path)] == ["STATE"]
    assert lines_of(read((CLASSIC % 5).rstrip(), tmp_path)) == [("orders", 1, {"id": 5})]


def test_a_line_cut_by_the_end_of_input_is_an_error_after_all_rows_before_it(tmp_path):
    items, error = read_until_error(CLASSIC % 1 + CLASSIC % 2 + b'{"type": "RECORD", "str', tmp_path)

    assert len(lines_of(items)) == 2
    assert "ended in the middle of line 3" in str(error)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        pytest.param(b"Traceback (secret-7c1)", "line 2 of the input is not JSON", id="not-json"),
        pytest.param(b"[1, 2]", "line 2 of the input is a JSON list", id="not-an-object"),
        pytest.param(b'{"value": {"a": "secret-7c1"}}', "has no 'type'", id="no-type"),
        pytest.param(
            b'{"type": "RECORD", "record": {"a": "secret-7c1"}}', "'stream' is missing", id="no-stream"
        ),
        pytest.param(
            b'{"type": "STATE", "bookmarks": "secret-7c1"}', "'value' is missing", id="state-without-value"
        ),
        pytest.param(
            b'{"type": "STATE", "value": "secret-7c1"}', "'value' is missing", id="state-not-an-object"
        ),
        pytest.param(b'{"type": "SCHEMA", "stream": "s"}', "'schema' is missing", id="schema-without-schema"),
        pytest.param(b'{"type": "ACTIVATE_VERSION", "stream": "s"}', "'version' is missing", id="no-version"),
        pytest.param(
            b'{"type": "BATCH", "stream": "s", "encoding": {}}', "'manifest' is missing", id="no-manifest"
        ),
        pytest.param(b'{"type": "STATE", "value": {"a": "\xff"}}', "not UTF-8", id="state-not-utf-8"),
        pytest.param(
            b'{"type": "RECORD", "stream": "\xff", "record": {}}', "not UTF-8", id="stream-not-utf-8"
        ),
    ],
)
def test_a_line_that_is_no_singer_message_is_refused_by_number_and_without_its_content(line, words, tmp_path):
    items, error = read_until_error(CLASSIC % 1 + line + b"\n" + CLASSIC % 2, tmp_path)

    assert [record["id"] for _, _, record in lines_of(items)] == [1]
    assert words in str(error)
    assert "line 2" in str(error)
    assert "secret" not in str(error)


@pytest.mark.parametrize("value", [b"NaN", b'"\xff"', b'"\\ud800"', b"[" * 100_000 + b"]" * 100_000])
def test_a_record_that_is_odd_inside_still_joins_its_run(value, tmp_path):
    """Its row is refused later; the stream goes on."""
    items = read(CLASSIC % 1 + b'{"type":"RECORD","stream":"orders","record":{"id":%s}}\n' % value, tmp_path)

    assert [(run.stream, run.count) for run in items] == [("orders", 2)]


def test_unknown_message_types_are_left_out_with_one_warning(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        items = read((b'{"type": "METRIC", "value": 1}\n' * 3) + STATE, tmp_path)

    assert [item.type for item in items] == ["STATE"]
    assert [record.getMessage() for record in caplog.records] == [
        "line 1: messages of type 'METRIC' are not known here; left out"
    ]


@pytest.mark.parametrize(
    "number",
    [
        "1.10",
        "1e400",
        "-0",
        "-0.0",
        "12345678901234567890",
        "0.10000000000000000555",
        "1E+2",
        "NaN",
        "-Infinity",
        "9" * 5000,
    ],
)
def test_numbers_in_a_state_are_printed_as_they_came(number, tmp_path):
    line = f'{{"type": "STATE", "value": {{"a": [{number}], "b": "ü\\ud800"}}}}\n'.encode()

    (state,) = read(line, tmp_path)

    assert dump_json(state.value["value"]) == f'{{"a": [{number}], "b": "\\u00fc\\ud800"}}'


def test_number_texts_compare_by_value_and_not_by_the_nearest_float():
    assert parse_json("1.0") == parse_json("1.00") == 1
    assert hash(parse_json("1.0")) == hash(1)
    assert parse_json("12345678901234567.1") != parse_json("12345678901234567.2")
    assert parse_json("0.1") != 0.1  # the float nearest to 0.1 is another number
    assert NumberText("2.5") == 2.5


def test_a_silent_tap_gives_its_rows_and_then_ticks(tmp_path):
    out, into = os.pipe()
    os.write(into, CLASSIC % 1)
    reading = messages(out, tick_seconds=0.05)

    first, second, third = next(reading), next(reading), next(reading)
    os.write(into, STATE)
    after = next(reading)
    os.close(into)

    assert (first.count, second, third, after.type) == (1, Tick(), Tick(), "STATE")
    assert list(reading) == []
    os.close(out)


def test_a_slow_tap_does_not_keep_rows_back(tmp_path):
    """Rows that trickle in faster than the tick would otherwise wait for a full run."""
    out, into = os.pipe()

    def write() -> None:
        for i in range(40):
            os.write(into, CLASSIC % i)
            time.sleep(0.01)
        os.close(into)

    writer = threading.Thread(target=write)
    writer.start()
    items = list(messages(out, tick_seconds=0.05))
    writer.join()
    os.close(out)

    assert Tick() in items
    assert len([item for item in items if isinstance(item, Run)]) >= 2
    assert [r["id"] for _, _, r in lines_of(items)] == list(range(40))


def test_an_exception_of_a_signal_handler_ends_the_waiting():
    class Stop(Exception):  # noqa: N818
        pass

    def handler(signum, frame):
        raise Stop

    out, into = os.pipe()
    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(Stop):
            next(messages(out, tick_seconds=60))
    finally:
        signal.signal(signal.SIGALRM, before)
        os.close(out)
        os.close(into)

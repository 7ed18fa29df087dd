"""Masks through a real tap: SCHEMA, records, bookmarks, preview, and what is refused at the start."""

import json

import pytest

from icetap.columnar.lanes import RecordLane
from icetap.records.masks.values import KeyedHash
from icetap.secrets.keys import KEYS_VARIABLE, key_id, new_key
from icetap.secrets.store import STORE_VARIABLE, open_store

KEY = "pepper for tests"
OLD, NEW = new_key(), new_key()
EMAILS = [f"canary{number:03}@example.com" for number in range(500)]
SCRIPT = """
CREATE TABLE people (email TEXT NOT NULL PRIMARY KEY, phone TEXT, born DATE, note TEXT, profile JSON, changed_at TIMESTAMP);
CREATE TABLE logs (id INTEGER PRIMARY KEY, origin TEXT, note TEXT);
"""
MASKS = {"people": {"email": "hash", "phone": "partial", "born": "year", "note": "drop"}}


def hashed(text):
    return KeyedHash(KEY).text(text.encode())


@pytest.fixture
def people(database):
    rows = [
        (
            email,
            "+55 11 98765-4321",
            "1980-05-06",
            "x",
            None,
            f"2024-01-01 00:{number // 60:02}:{number % 60:02}",
        )
        for number, email in enumerate(EMAILS)
    ]
    return database(
        SCRIPT, {"people": rows, "logs": [(1, EMAILS[0], "a"), (2, EMAILS[1], "b"), (3, EMAILS[2], "c")]}
    )


def test_schema_and_records_are_masked(sync, people):
    output = sync(people, masks=MASKS, mask_key=KEY)

    assert output.schema("people")["email"] == {"type": "string"}
    assert "note" not in output.schema("people")
    assert output.records("people")[0] == {
        "email": hashed(EMAILS[0]),
        "phone": "*************4321",
        "born": "1980-01-01",
        "profile": None,
        "changed_at": "2024-01-01T00:00:00.000000",
    }


def test_arrow_files_hold_what_the_records_hold(sync, people, tmp_path):
    records = sync(people, masks=MASKS, mask_key=KEY).records("people")
    root = tmp_path / "batches"

    output = sync(
        people,
        masks={**MASKS, "logs": {"origin": "redact"}},
        mask_key=KEY,
        batch_config={"encoding": {"format": "arrow"}, "storage": {"root": str(root)}},
    )

    files = [file.read_bytes() for file in root.iterdir()]
    table = output.tables()["people"]
    assert files
    assert not [email for email in EMAILS if any(email.encode() in content for content in files)]
    assert [str(value) for value in table.column("email").to_pylist()] == [
        record["email"] for record in records
    ]
    assert "note" not in table.column_names


def test_a_hidden_key_is_in_no_bookmark(sync, people):
    output = sync(people, masks=MASKS, mask_key=KEY, batch_size=100)

    assert len(output.of("STATE")) > 1
    assert not [email for email in EMAILS if email in json.dumps(output.of("STATE"), default=str)]


@pytest.mark.parametrize(
    "settings", [{"masks": MASKS}, {"mask_new_personal_columns": "hash"}], ids=["mask", "default"]
)
def test_a_key_that_is_masked_now_leaves_the_bookmark_of_a_run_that_was_cut_before(sync, people, settings):
    bookmark = {"version": 7, "position": {"email": EMAILS[250]}}

    output = sync(people, state={"bookmarks": {"people": bookmark}}, mask_key=KEY, **settings)

    assert len(output.records("people")) == len(EMAILS)
    assert [state for state in output.of("STATE") if "canary" in json.dumps(state, default=str)] == []


@pytest.mark.parametrize(
    "settings",
    [{"masks": {"cards": {"number": "hash"}}}, {"mask_new_personal_columns": "hash"}],
    ids=["mask", "default"],
)
def test_an_error_does_not_tell_the_key_of_a_row_where_it_is_masked(command, database, settings):
    path = database(
        "CREATE TABLE cards (number INTEGER PRIMARY KEY, n INTEGER)", {"cards": [(4111111111111111, "x")]}
    )

    done = command(database=str(path), mask_key=KEY, **settings)

    assert done.returncode == 3
    assert b"column 'n' (INTEGER) holds 1 text" in done.stderr
    assert b"4111" not in done.stderr + done.stdout


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("SELECT email, json_extract('{}', phone) AS p FROM people", b"bad JSON path"),
        ("SELECT email, json(note) AS p FROM people", b"malformed JSON. The database could not compute"),
    ],
    ids=["path", "document"],
)
def test_an_error_of_a_query_tells_no_value(command, people, sql, words):
    query = {"name": "q", "sql": sql, "key_properties": ["email"]}

    done = command(
        database=str(people), queries=[query], mask_key=KEY, masks={"q": {"p": "hash", "email": "hash"}}
    )

    assert done.returncode == 3
    assert words in done.stderr
    assert b"98765" not in done.stderr


def test_stream_maps_see_masked_values(sync, people):
    output = sync(
        people,
        masks=MASKS,
        mask_key=KEY,
        stream_maps={"people": {"copy": "email", "email": "email", "__else__": None}},
    )

    assert output.records("people")[0] == {"email": hashed(EMAILS[0]), "copy": hashed(EMAILS[0])}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"masks": {"people": {"changed_at": "redact"}}},
            ["replication key 'changed_at'", "'changed_at: keep'"],
        ),
        ({"masks": {"people": {"e_mail": "redact"}}}, ["did you mean 'email'"]),
        ({"masks": {"poeple": {"email": "redact"}}}, ["'poeple'", "did you mean 'people'"]),
        ({"masks": {"people": {"email": "partial"}}}, ["is a key", "'hash'"]),
        ({"masks": {"people": {"email": "scramble"}}}, ["no mask 'scramble'"]),
        ({"masks": {"people": {"email": "hash"}}}, ["'mask_key'"]),
    ],
    ids=["cursor", "column", "stream", "key", "mask", "mask-key"],
)
def test_wrong_masks_end_with_exit_code_2_before_anything_is_written(command, people, settings, words):
    streams = {"people": {"replication_key": "changed_at", "replication_method": "INCREMENTAL"}}

    done = command(database=str(people), streams=streams, **settings)

    assert (done.returncode, done.stdout) == (2, b"")
    assert [word for word in words if word not in done.stderr.decode()] == []
    assert b"'masks'" in done.stderr or b"mask_key" in done.stderr


def test_a_preview_is_masked(command, people):
    done = command("--preview", "people", database=str(people), masks=MASKS, mask_key=KEY)

    shown = json.loads(done.stdout)
    assert [column["name"] for column in shown["columns"]] == [
        "email",
        "phone",
        "born",
        "profile",
        "changed_at",
    ]
    assert shown["rows"][0]["email"] == hashed(EMAILS[0])
    assert b"canary" not in done.stdout


def test_personal_columns_are_reported_by_their_values(command, people):
    done = command(database=str(people), masks={"people": {"phone": "redact", "*": "keep"}})

    assert done.returncode == 0
    assert "Stream logs: columns that look personal" in done.stderr.decode()
    assert "not masked: origin (e-mail address)" in done.stderr.decode()
    assert "canary" not in done.stderr.decode()


@pytest.mark.parametrize(("mode", "expected"), [("hash", hashed(EMAILS[0])), ("redact", None)])
def test_personal_columns_are_masked_by_default_and_stay_so(sync, people, execute, mode, expected):
    settings = {"mask_new_personal_columns": mode, "mask_key": KEY, "masks": {"people": {"note": "keep"}}}
    first = sync(people, **settings)
    execute(people, "DELETE FROM logs", "INSERT INTO logs VALUES (9, 'nothing personal', 'd')")

    second = sync(people, state=first.state, **settings)

    assert first.records("logs")[0] == {"id": 1, "origin": expected, "note": "a"}
    assert first.records("people")[0]["email"] == hashed(EMAILS[0]), "a key can be nothing but hashed"
    assert second.records("logs") == [
        {"id": 9, "origin": hashed("nothing personal") if mode == "hash" else None, "note": "d"}
    ]


def test_with_stream_maps_a_column_that_only_its_values_tell_is_not_said_to_be_masked(command, people):
    done = command(
        database=str(people),
        mask_new_personal_columns="redact",
        mask_key=KEY,
        stream_maps={"logs": {"origin": "origin"}},
    )

    told = done.stderr.decode()
    assert done.returncode == 0
    assert (
        "Stream logs: columns that look personal and that 'masks' does not name are not masked: origin"
        in told
    )


def test_what_was_found_by_its_values_stays_masked_when_stream_maps_come(sync, people):
    settings = {"mask_new_personal_columns": "hash", "mask_key": KEY}
    first = sync(people, **settings)

    second = sync(
        people,
        state=first.state,
        stream_maps={"logs": {"id": "id", "copy": "origin", "__else__": None}},
        **settings,
    )

    assert second.records("logs")[0] == {"id": 1, "copy": hashed(EMAILS[0])}


@pytest.mark.parametrize(
    ("mode", "kind", "value"), [("hash", "string", hashed("11987650001")), ("redact", "integer", None)]
)
def test_the_schema_says_what_became_of_it_when_stream_maps_come(sync, database, mode, kind, value):
    """A number becomes a text; only its values say that it is a phone number's."""
    path = database(
        "CREATE TABLE calls (id INTEGER PRIMARY KEY, c INTEGER)",
        {"calls": [(number, 11_987_650_000 + number) for number in range(1, 9)]},
    )
    settings = {"mask_new_personal_columns": mode, "mask_key": KEY, "masks": {"calls": {"id": "keep"}}}
    first = sync(path, **settings)
    maps = {"calls": {"copy": "c", "twice": "id * 2"}}

    second = sync(path, state=first.state, stream_maps=maps, **settings)

    assert second.records("calls")[0] == {"id": 1, "c": value, "copy": value, "twice": 2}
    assert first.schema("calls")["c"]["type"] == [kind, "null"]
    assert second.schema("calls")["c"]["type"] == [kind, "null"]
    assert kind in second.schema("calls")["copy"]["type"]


def test_an_empty_stream_has_its_schema_although_masks_wait_for_rows(sync, database):
    output = sync(
        database("CREATE TABLE t (id INTEGER PRIMARY KEY, cpf TEXT)"), mask_new_personal_columns="redact"
    )

    assert list(output.schema("t")) == ["id", "cpf"]
    assert output.types == ["STATE", "SCHEMA", "ACTIVATE_VERSION", "ACTIVATE_VERSION", "STATE"]


@pytest.mark.parametrize("is_masked", [True, False], ids=["masked", "not-masked"])
def test_the_message_of_an_unforeseen_error_is_told_only_where_nothing_is_hidden(
    command, people, monkeypatch, is_masked
):
    def fail(*_):
        raise ValueError(f"cannot understand {EMAILS[0]}")

    monkeypatch.setattr(RecordLane, "write", fail)
    settings = {"masks": MASKS, "mask_key": KEY} if is_masked else {}
    try:
        done = command(database=str(people), **settings)
    except ValueError:
        assert not is_masked
        return

    assert done.returncode == 1
    assert is_masked
    assert "ValueError: (its message is not shown" in done.stderr.decode()
    assert EMAILS[0] not in done.stderr.decode()


@pytest.mark.parametrize(
    ("keys", "code", "words"),
    [
        pytest.param([OLD], 0, [], id="right-key"),
        pytest.param([NEW, OLD], 0, [], id="two-keys"),
        pytest.param([NEW], 2, ["'mask_key' is secret://mask-key", key_id(OLD), key_id(NEW)], id="wrong-key"),
        pytest.param([], 2, ["'mask_key' is secret://mask-key", "icetap secrets new-key"], id="no-key"),
    ],
)
def test_a_reference_is_resolved_at_the_start_or_told_with_the_way_out(
    command, people, tmp_path, monkeypatch, keys, code, words
):
    monkeypatch.setenv(STORE_VARIABLE, str(tmp_path / "secrets.json"))
    monkeypatch.setenv(KEYS_VARIABLE, OLD)
    open_store().set("mask-key", KEY)
    monkeypatch.setenv(KEYS_VARIABLE, ",".join(keys))

    done = command(database=str(people), masks=MASKS, mask_key="secret://mask-key")

    said = done.stderr.decode()
    assert done.returncode == code, said
    assert [word for word in words if word not in said] == []
    assert (hashed(EMAILS[0]).encode() in done.stdout) is (code == 0)
    assert KEY not in said
    assert not [key for key in keys if key in said]

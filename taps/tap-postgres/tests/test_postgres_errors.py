"""What an error of the server tells of the data: nothing."""

import pytest

from icetap.secrets.redaction import REDACTOR
from icetap.testing.in_process import run_tap
from tap_postgres.errors import statement_error
from tap_postgres.tap import TapPostgres


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('invalid input syntax for type integer: "ada@example.org"', "for type integer"),
        ('invalid input syntax for type integer: "the "one" ada has "', "for type integer"),
        ('invalid input syntax for type integer: "first\nada', "for type integer"),
        ('value "ada" is out of range for type integer', "is out of range for type integer"),
        ('value "a"ada"a" is out of range for type integer', "is out of range for type integer"),
    ],
    ids=["plain", "quotes", "lines", "in-the-middle", "quotes-in-the-middle"],
)
def test_a_value_that_the_server_quotes_is_not_told(text, told):
    said = str(statement_error(f"ERROR:  {text}", "22P02", where="shop"))

    assert told in said
    assert "ada" not in said
    assert "first" not in said


CANARY = "canary@example.org"
RAISING = """CREATE FUNCTION checked(given text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN RAISE {} 'no good: %', given {}; RETURN given; END $$"""


@pytest.mark.parametrize(
    ("expression", "function"),
    [
        pytest.param("checked(email)", RAISING.format("EXCEPTION", ""), id="raised"),
        pytest.param(
            "checked(email)",
            RAISING.format("EXCEPTION", "USING ERRCODE = '42501', DETAIL = 'Key (email)=(' || given || ')'"),
            id="raised-as-another",
        ),
        pytest.param("checked(email)::int", RAISING.format("WARNING", ""), id="warned"),
        pytest.param("email::int", None, id="number"),
        pytest.param("email::jsonb", None, id="json"),
        pytest.param("('<' || email)::xml", None, id="xml"),
        pytest.param("email::uuid", None, id="uuid"),
        pytest.param("regexp_replace('a', '(' || email, '')", None, id="pattern"),
        pytest.param("to_date(email, 'YYYY-MM-DD')", None, id="date"),
    ],
)
@pytest.mark.parametrize("lane", ["records", "arrow"])
def test_where_masks_hide_values_no_words_of_the_server_tell_them(
    scratch, capfd, tmp_path, expression, function, lane
):
    source = scratch(
        "CREATE TABLE people (id int PRIMARY KEY, email text)",
        f"INSERT INTO people VALUES (1, '{CANARY}')",
        *([function] if function else []),
    )
    query = {"name": "shown", "sql": f"SELECT id, email, {expression} AS made FROM people"}
    masks = {"*": {"email": "redact", "made": "redact"}}
    config = {**source.config, "max_retries": 0, "queries": [query], "masks": masks}
    if lane == "arrow":
        config["batch_config"] = {"encoding": {"format": "arrow"}, "storage": {"root": str(tmp_path)}}

    run = run_tap(TapPostgres, config)

    told = f"{run.error} {run.log} {run.stdout} {capfd.readouterr()}"
    assert run.error is not None
    assert CANARY not in told
    assert "its words are not told" in str(run.error)
    assert CANARY.encode() not in b"".join(
        path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()
    )


@pytest.mark.parametrize(
    "said",
    [
        "permission denied for table people",
        'relation "public.people" does not exist',
        'column "email" of relation "people" does not exist',
        "column p.email does not exist",
        "function checked(text, integer) does not exist",
        "canceling statement due to statement timeout",
        "could not serialize access due to concurrent update",
    ],
)
def test_words_that_are_made_of_names_are_told_with_masks_too(said, monkeypatch):
    monkeypatch.setattr(REDACTOR, "hides_values", True)

    assert said in str(statement_error(f"ERROR:  {said}", "42000", where="shop"))

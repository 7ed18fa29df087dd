"""What an error of the server tells of the data: nothing."""

import pytest

from tap_postgres.errors import statement_error


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

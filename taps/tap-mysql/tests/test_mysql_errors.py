"""What the server says of a value is told without the value."""

import pymysql
import pytest

from tap_mysql.errors import translation


@pytest.mark.parametrize(
    ("number", "said", "told"),
    [
        (1525, "Incorrect DATE value: 'ana@example.com'", "Incorrect DATE value: '…'"),
        (1292, "Truncated incorrect DOUBLE value: 'it''s ana'", "Truncated incorrect DOUBLE value: '…'"),
        (1054, "Unknown column 'emial' in 'SELECT'", "Unknown column 'emial' in 'SELECT'"),
    ],
)
def test_a_message_of_the_server_is_told_without_values(number, said, told):
    assert told in str(translation(pymysql.err.OperationalError(number, said), "db.example.com"))

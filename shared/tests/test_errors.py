"""Messages of errors."""

import pytest

from icetap.errors import about_stream


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("the server is away", "stream 'id': the server is away", id="not-named"),
        pytest.param("stream 'id': no rows", "stream 'id': no rows", id="named"),
        pytest.param(
            "table a of stream 'id' is gone", "table a of stream 'id' is gone", id="named-further-on"
        ),
        pytest.param(
            "column 'id' is a text", "stream 'id': column 'id' is a text", id="a-column-of-that-name"
        ),
        pytest.param("stream 'ids': no rows", "stream 'id': stream 'ids': no rows", id="another-stream"),
    ],
)
def test_a_message_says_once_which_stream_it_is_about(text, told):
    assert about_stream("id", text) == told


def test_a_message_says_more_of_the_stream_where_more_is_known():
    label = "stream 'id' (api.yaml, line 7)"

    assert about_stream("id", "no rows", label=label) == f"{label}: no rows"
    assert about_stream("id", f"{label} has no rows", label=label) == f"{label} has no rows"

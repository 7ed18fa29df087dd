"""Settings: what is refused before anything is read."""

import pytest

from icetap.errors import ConfigurationError
from icetap.settings import check_settings

SCHEMA = {"properties": {"database": {}, "lookback_seconds": {}, "streams": {}}}


def test_known_settings_pass():
    check_settings({"database": "x", "streams": {}, "stream_maps": {}}, SCHEMA, plugin="tap-x")


def test_an_unknown_setting_is_refused_with_the_nearest_known_one():
    with pytest.raises(ConfigurationError, match=r"'databse'; did you mean 'database'\?"):
        check_settings({"databse": "x"}, SCHEMA, plugin="tap-x")


def test_a_setting_like_no_other_is_refused_without_a_guess():
    with pytest.raises(ConfigurationError) as error:
        check_settings({"zzz": 1}, SCHEMA, plugin="tap-x")

    assert "'zzz'" in str(error.value)
    assert "did you mean" not in str(error.value)
    assert "tap-x --about" in str(error.value)


def test_unknown_settings_of_other_makers_are_each_a_sentence():
    elsewhere = {"ssl": "give 'sslmode'"}

    with pytest.raises(
        ConfigurationError,
        match=r"no setting 'databse'; did you mean 'database'\? 'ssl': give 'sslmode'\. Run",
    ):
        check_settings({"ssl": True, "databse": "x"}, SCHEMA, plugin="tap-x", elsewhere=elsewhere)


def test_the_value_of_an_unknown_setting_is_not_told():
    with pytest.raises(ConfigurationError) as error:
        check_settings({"pasword": "hunter2!"}, SCHEMA, plugin="tap-x")

    assert "hunter2!" not in str(error.value)

"""Settings and states of other makers' taps: taken over, or refused with what to do instead."""

from __future__ import annotations

import pytest

from icetap.errors import ConfigurationError
from tap_mysql.settings import SETTINGS_ELSEWHERE
from tap_mysql.tap import TapMySQL

# Settings that transferwise/pipelinewise-tap-mysql and singer-io/tap-mysql read, and those of taps on the
# Singer SDK's SQL base; read 2026-11-21.
OF_OTHERS = {
    *("host", "port", "user", "password", "database", "filter_dbs", "ssl", "ssl_ca", "ssl_cert", "ssl_key"),
    *(
        "internal_hostname",
        "session_sqls",
        "engine",
        "use_gtid",
        "server_id",
        "cursorclass",
        "check_hostname",
    ),
    *(
        "verify_mode",
        "sqlalchemy_url",
        "filter_schemas",
        "default_replication_method",
        "ssh_tunnel",
        "start_date",
    ),
    *("stream_options", "batch_config"),
}


def test_every_setting_of_theirs_is_known():
    ours = set(TapMySQL.config_jsonschema["properties"])

    assert OF_OTHERS - ours - set(SETTINGS_ELSEWHERE) == set()
    assert set(SETTINGS_ELSEWHERE) & ours == set()


@pytest.mark.parametrize("name", SETTINGS_ELSEWHERE)
def test_a_setting_that_is_another_one_here_is_refused_with_it(name):
    with pytest.raises(ConfigurationError) as raised:
        TapMySQL(config={"host": "nowhere", name: "x"})

    assert f"'{name}': {SETTINGS_ELSEWHERE[name]}" in str(raised.value)


STATES = {
    "singer-io": {
        "replication_key": "updated_at",
        "replication_key_value": "2026-01-02T00:00:00+00:00",
        "version": 1767312000000,
    },
    "PipelineWise, of a DATETIME": {
        "last_replication_method": "INCREMENTAL",
        "replication_key": "updated_at",
        "version": 1767312000000,
        "replication_key_value": "2026-01-02 00:00:00",
    },
}


@pytest.mark.servers
@pytest.mark.parametrize("maker", STATES)
def test_a_bookmark_of_theirs_is_gone_on_from(database, sync, maker):
    database.execute(
        "SET time_zone = '+00:00'",
        "CREATE TABLE t (id INT PRIMARY KEY, updated_at TIMESTAMP NULL, KEY (updated_at))",
        "INSERT INTO t VALUES (1, '2026-01-01 00:00:00'), (2, '2026-01-02 00:00:00'), (3, '2026-01-03 00:00:00')",
    )
    stream = database.stream("t")
    options = {"replication_method": "INCREMENTAL", "replication_key": "updated_at", "lookback_seconds": 0}
    found = sync(state={"bookmarks": {stream: STATES[maker]}}, streams={stream: options})

    assert [record["id"] for record in found.records()] == [2, 3]
    assert found.bookmark(stream)["replication_key_value"] == "2026-01-03T00:00:00.000000Z"


@pytest.mark.servers
def test_a_list_of_databases_with_commas_is_taken(database, discovered):
    database.execute("CREATE TABLE t (id INT)")

    assert list(discovered(database=None, filter_dbs=f"{database.name},other")) == [database.stream("t")]

"""Settings and states of other makers' taps: taken over, or refused with what to do instead."""

from __future__ import annotations

import pytest

from icetap.errors import ConfigurationError
from tap_postgres.settings import OTHER_NAMES, SETTINGS_ELSEWHERE
from tap_postgres.tap import TapPostgres

# Settings that MeltanoLabs/tap-postgres and transferwise/pipelinewise-tap-postgres declare, read 2026-11-21.
OF_OTHERS = {
    *("host", "port", "user", "password", "database", "sqlalchemy_url", "filter_schemas", "dates_as_string"),
    *("json_as_object", "ssh_tunnel", "ssl_enable", "ssl_client_certificate_enable", "ssl_mode"),
    *(
        "ssl_certificate_authority",
        "ssl_client_certificate",
        "ssl_client_private_key",
        "ssl_storage_directory",
    ),
    *("default_replication_method", "max_record_count", "stream_options", "replication_slot_name"),
    *("replication_max_run_seconds", "replication_idle_exit_seconds", "stream_maps", "stream_map_config"),
    *(
        "faker_config",
        "flattening_enabled",
        "flattening_max_depth",
        "batch_config",
        "dbname",
        "filter_dbs",
        "ssl",
    ),
    *("logical_poll_total_seconds", "max_run_seconds", "break_at_end_lsn", "use_secondary", "secondary_host"),
    *("secondary_port", "limit", "itersize", "include_schemas_in_destination_stream_name"),
    *("default_replication_key", "debug_lsn", "tap_id", "wal2json_message_format"),
}


def test_every_setting_of_theirs_is_known():
    ours = set(TapPostgres.config_jsonschema["properties"]) | {"stream_maps", "stream_map_config", "faker_config",
                                                               "flattening_enabled", "flattening_max_depth"}  # fmt: skip

    assert OF_OTHERS - ours - set(OTHER_NAMES) - set(SETTINGS_ELSEWHERE) == set()
    assert set(SETTINGS_ELSEWHERE) & ours == set()


@pytest.mark.parametrize("name", SETTINGS_ELSEWHERE)
def test_a_setting_that_is_another_one_here_is_refused_with_it(name):
    with pytest.raises(ConfigurationError) as raised:
        TapPostgres(config={"host": "nowhere", name: "x"})

    assert f"'{name}': {SETTINGS_ELSEWHERE[name]}" in str(raised.value)


def test_names_that_mean_the_same_are_taken(scratch):
    source = scratch("CREATE TABLE t (id int PRIMARY KEY)")
    config = {name: value for name, value in source.config.items() if name != "database"}

    others = {"dbname": source.name, "ssl_mode": "prefer", "itersize": 10, "filter_schemas": "public, sales"}
    tap = TapPostgres(config={**config, **others})

    assert list(tap.streams) == ["public-t"]
    assert tap.config["batch_size"] == 10


STATES = {
    "MeltanoLabs": {
        "replication_key": "updated_at",
        "replication_key_value": "2026-01-02T00:00:00+00:00",
    },
    "PipelineWise": {
        "last_replication_method": "INCREMENTAL",
        "replication_key": "updated_at",
        "version": 1767312000000,
        "replication_key_value": "2026-01-02T00:00:00+00:00",
    },
}


@pytest.mark.parametrize("maker", STATES)
def test_a_bookmark_of_theirs_is_gone_on_from(scratch, sync, maker):
    source = scratch(
        "CREATE TABLE t (id int PRIMARY KEY, updated_at timestamptz)",
        "INSERT INTO t VALUES (1, '2026-01-01'), (2, '2026-01-02 00:00:00+00'), (3, '2026-01-03 00:00:00.000001+00')",
    )
    options = {"public-t": {"replication_method": "INCREMENTAL", "replication_key": "updated_at"}}

    done = sync(source, state={"bookmarks": {"public-t": STATES[maker]}}, streams=options, lookback_seconds=0)

    assert [record["id"] for record in done.records()] == [2, 3]
    assert done.state["bookmarks"]["public-t"]["replication_key_value"] == "2026-01-03T00:00:00.000001Z"

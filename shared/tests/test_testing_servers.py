"""Real servers for tests: found, started, stopped, and told at the end."""

import os
import sys
import urllib.request

import pytest

from icetap.testing import servers

pytest_plugins = ["pytester"]


def test_a_server_runs_until_its_block_ends_and_only_it_is_stopped(tmp_path):
    port = servers.free_port()
    (tmp_path / "hello.txt").write_text("hello")
    command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"]

    with servers.started(
        command, answers=lambda: servers.accepts_connections(port), folder=tmp_path
    ) as process:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/hello.txt") as answer:
            assert answer.read() == b"hello"
        assert process.poll() is None

    assert process.poll() is not None
    assert not servers.accepts_connections(port)


def test_a_server_that_ends_at_once_is_told_with_its_last_words(tmp_path):
    command = [sys.executable, "-c", "print('starting'); raise SystemExit('no licence found')"]

    with (
        pytest.raises(servers.NotAvailableError, match="the server ended and said: no licence found"),
        servers.started(command, answers=lambda: False, folder=tmp_path),
    ):
        pass


def test_a_package_client_that_fails_is_told_with_its_last_words():
    command = [sys.executable, "-c", "raise SystemExit('404 for libfoo')"]

    with pytest.raises(servers.NotAvailableError, match="failed and said: 404 for libfoo"):
        servers.fetch(command)


def test_an_address_in_the_environment_wins(monkeypatch):
    monkeypatch.setenv("ICETAP_TEST_SAP_HANA_URL", "http://elsewhere")

    assert servers.address_from_environment("sap-hana") == "http://elsewhere"
    assert servers.address_from_environment("oracle") is None


def test_what_was_fetched_outlives_the_run(monkeypatch, tmp_path):
    monkeypatch.setenv("ICETAP_TEST_CACHE", str(tmp_path / "cache"))

    assert servers.cache_folder("jars") == tmp_path / "cache" / "jars"
    assert (tmp_path / "cache" / "jars").is_dir()


def test_the_run_ends_with_which_servers_were_used_and_which_not(pytester):
    pytester.makepyfile(
        """
        from icetap.testing.servers import NotAvailableError, real_server

        def test_had():
            with real_server("Postgres") as answers:
                answers("17.2, a program on this machine")

        def test_not_had():
            with real_server("Oracle"):
                raise NotAvailableError("the program 'lsnrctl' is not installed")
        """
    )

    result = pytester.runpytest_subprocess("-p", "icetap.testing.plugin", "-p", "no:cacheprovider")

    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(
        [
            "*real servers and engines*",
            "used     Postgres: 17.2, a program on this machine",
            "SKIPPED  Oracle: the program 'lsnrctl' is not installed",
        ]
    )


def test_a_missing_program_is_named(monkeypatch):
    monkeypatch.setenv("PATH", os.devnull)

    with pytest.raises(servers.NotAvailableError, match="the program 'mvn' is not installed"):
        servers.program("mvn")

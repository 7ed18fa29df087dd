"""Iceberg's own REST catalog: loads, commits whose connection fails, OAuth2, tables in S3."""

import contextlib
import json
import logging
import subprocess
import time

import pytest

from icetap.catalogs import open_catalog
from icetap.errors import ConfigurationError, RetriableError
from icetap.testing.lakes import rest_catalog
from icetap.testing.proxies import Fault, HttpProxy, TokenGate, delay, lose_answer, lose_request, refuse

pytestmark = [pytest.mark.servers, pytest.mark.timeout(900)]

COMMIT = r"/namespaces/raw/tables/s$"
KEYS = {"with keys": ["id"], "without keys": []}
CLIENT, SECRET = "icetap", "t0ken-s3cret/of the test"


def rest(server, **more):
    return {"type": "rest", "uri": server.url, **more}


def emptied(catalog):
    for namespace in catalog.list_namespaces():
        for identifier in catalog.list_tables(namespace):
            catalog.drop_table(identifier)
        catalog.drop_namespace(namespace)


@pytest.fixture
def on_rest(lake, rest_server):
    """A lake on the REST catalog, empty."""
    lake.config = {"catalog": rest(rest_server)}
    yield lake
    emptied(open_catalog({"catalog": rest(rest_server)}))


@pytest.fixture
def proxy(rest_server):
    with HttpProxy(rest_server.port) as proxy:
        yield proxy


def messages(singer, ids, keys=("id",)):
    ids = list(ids)
    return [singer.schema(keys=list(keys), cursor="id"), *singer.records(ids), singer.state(s=ids[-1])]


# --- commits whose connection fails ---------------------------------------------------------------

FAULTS = {
    "request lost": (lose_request, 1),
    "answer lost": (lose_answer, 1),
    "500 before": (refuse(500), 1),
    "500 after it was made": (refuse(500, after_the_fact=True), 1),
    "502 after it was made": (refuse(502, after_the_fact=True), 1),
    "503 three times": (refuse(503), 3),
    "503 after it was made": (refuse(503, after_the_fact=True), 1),
    "429": (refuse(429, retry_after="1"), 1),
    "409 after it was made": (refuse(409, after_the_fact=True), 1),
}


@pytest.mark.parametrize("keys", KEYS.values(), ids=KEYS)
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_commit_is_made_once_whatever_happens_to_its_connection(on_rest, proxy, singer, fault, keys):
    does, times = fault
    on_rest.ok(singer.state(), messages(singer, [1, 2], keys))
    spoiled = proxy.add(Fault("POST", COMMIT, does, times=times))
    outcome = on_rest.ok(singer.state(s=2), messages(singer, [3, 4], keys), catalog=rest(proxy))
    assert spoiled.hits >= times
    assert outcome.last_state == singer.state(s=4)["value"]
    assert on_rest.ids() == [1, 2, 3, 4]
    assert on_rest.snapshots() == 2
    on_rest.ok(singer.state(s=4), messages(singer, [5], keys))
    assert on_rest.ids() == [1, 2, 3, 4, 5]
    assert [row["id"] for row in on_rest.rows()] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("keys", KEYS.values(), ids=KEYS)
def test_a_commit_that_lands_after_the_loader_has_asked_the_table_is_not_made_twice(
    on_rest, proxy, singer, keys
):
    """The time-out ends, the table shows nothing, the request is sent again; then the first one arrives."""
    on_rest.ok(singer.state(), messages(singer, [1, 2], keys))
    slow = proxy.add(Fault("POST", COMMIT, delay(2.5)))
    on_rest.ok(singer.state(s=2), messages(singer, [3, 4], keys), catalog=rest(proxy), timeout_seconds=1)
    assert slow.hits >= 1
    time.sleep(2.5)  # until the late one has been answered, too
    assert on_rest.ids() == [1, 2, 3, 4]
    assert on_rest.snapshots() == 2


def test_the_server_may_say_when_to_ask_again(on_rest, proxy, singer, caplog):
    on_rest.ok(messages(singer, [1]))
    proxy.add(Fault("POST", COMMIT, refuse(503, retry_after="2")))
    with caplog.at_level(logging.WARNING):
        began = time.monotonic()
        on_rest.ok(messages(singer, [2]), catalog=rest(proxy))
    assert time.monotonic() - began >= 2
    assert "ServiceUnavailableError, HTTP status 503; attempt 2 of 6 follows in 2.0 s" in caplog.text


@pytest.mark.parametrize("keys", KEYS.values(), ids=KEYS)
def test_when_nothing_answers_any_more_no_state_is_printed_and_the_next_run_doubles_nothing(
    on_rest, proxy, singer, keys
):
    on_rest.ok(singer.state(), messages(singer, [1, 2], keys))
    cut = proxy.add(Fault("POST", COMMIT, lose_answer))

    def gone(_request, forward):
        return refuse(503)(_request, forward) if cut.hits else forward()

    proxy.add(Fault("GET", COMMIT, gone, times=1000))
    outcome = on_rest.load(
        singer.state(s=2), messages(singer, [3, 4], keys), catalog=rest(proxy), max_retries=1
    )
    assert "did not say whether the last commit to raw.s was made" in str(outcome.error)
    assert isinstance(outcome.error, RetriableError)
    assert outcome.lines == []
    assert on_rest.ids() == [1, 2, 3, 4]
    on_rest.ok(singer.state(s=2), messages(singer, [3, 4, 5], keys))
    assert on_rest.ids() == [1, 2, 3, 4, 5]


def test_a_catalog_that_refuses_commits_for_good_is_not_asked_again(on_rest, proxy, singer):
    on_rest.ok(messages(singer, [1]))
    refused = proxy.add(Fault("POST", COMMIT, refuse(403), times=100))
    outcome = on_rest.load(messages(singer, [2]), catalog=rest(proxy))
    assert isinstance(outcome.error, ConfigurationError)
    assert "the catalog refused access" in str(outcome.error)
    assert refused.hits == 1
    assert on_rest.ids() == [1]


def test_a_catalog_that_hangs_is_given_up_after_the_time_out(proxy):
    proxy.add(Fault("GET", "/v1/config", delay(30), times=100))
    began = time.monotonic()
    with pytest.raises(RetriableError, match=r"did not answer in time .*'timeout_seconds'"):
        open_catalog({"catalog": rest(proxy), "timeout_seconds": 1, "max_retries": 1})
    assert time.monotonic() - began < 10


def test_reading_is_repeated_while_the_catalog_is_overloaded(on_rest, proxy, singer):
    on_rest.ok(messages(singer, [1]))
    proxy.add(Fault("GET", "/namespaces", refuse(429, retry_after="0"), times=2))
    proxy.add(Fault("GET", COMMIT, lose_answer))
    on_rest.ok(messages(singer, [2]), catalog=rest(proxy))
    assert on_rest.ids() == [1, 2]


def test_a_new_table_is_made_once_when_the_answer_is_lost(on_rest, proxy, singer):
    made = proxy.add(Fault("POST", r"/namespaces/raw/tables$", lose_answer))
    named = proxy.add(Fault("POST", r"/namespaces$", lose_answer))
    on_rest.ok(messages(singer, [1, 2]), catalog=rest(proxy))
    assert (made.hits, named.hits) == (2, 2)
    assert on_rest.ids() == [1, 2]


def test_a_catalog_may_start_again_in_the_middle_of_a_load(lake, singer, tmp_path):
    with rest_catalog(tmp_path / "rest") as server:
        lake.config = {"catalog": rest(server)}
        lake.ok(messages(singer, [1]))
    process = lake.spawn(flush_seconds=1)
    lines = [json.dumps(one).encode() + b"\n" for one in messages(singer, [2, 3])]
    process.stdin.write(b"".join(lines))
    process.stdin.flush()
    time.sleep(6)  # it tries to open the catalog meanwhile
    with contextlib.closing(process.stdin), server.running():
        process.stdin.close()
        told = process.stderr.read().decode()
        assert process.wait(120) == 0, told
        assert "opening the catalog 'icetap': ConnectionError; attempt 2 of 6" in told
        assert lake.ids() == [1, 2, 3]


def test_two_loads_of_one_table_at_once_both_arrive(on_rest, singer):
    on_rest.ok(messages(singer, [0]))
    processes = [on_rest.spawn(pipeline=name, batch_size_rows=10) for name in ("one", "two")]
    for number, process in enumerate(processes):
        ids = range(1 + number * 100, 61 + number * 100)
        lines = [singer.schema(cursor="id")]
        for one in ids:
            lines += [*singer.records([one]), singer.state(s=one)]
        process.stdin.write(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
        process.stdin.close()
    told = [process.stderr.read().decode() for process in processes]
    assert [process.wait(120) for process in processes] == [0, 0], told
    assert on_rest.ids() == [0, *range(1, 61), *range(101, 161)]


# --- OAuth2 ---------------------------------------------------------------------------------------


@pytest.fixture
def gate(rest_server):
    with TokenGate(rest_server.port, client=CLIENT, secret=SECRET) as gate:
        yield gate


def credential(gate, secret=SECRET):
    token_url = f"{gate.url}{gate.TOKEN_PATH}"
    return rest(gate, **{"credential": f"{CLIENT}:{secret}", "oauth2-server-uri": token_url})


def oauth2(gate, secret=SECRET):
    token_url = f"{gate.url}{gate.TOKEN_PATH}"
    given = {"client_id": CLIENT, "client_secret": secret, "token_url": token_url}
    return rest(gate, auth={"type": "oauth2", "oauth2": given})


WAYS = {"credential": credential, "auth": oauth2}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_client_credentials_are_exchanged_for_a_token(on_rest, gate, singer, way):
    on_rest.ok(messages(singer, [1, 2]), catalog=way(gate))
    assert on_rest.ids() == [1, 2]
    assert gate.issued >= 1
    assert gate.refused == []


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_token_that_is_refused_in_the_middle_of_a_load_is_fetched_again(on_rest, gate, singer, way):
    """419 for one that is too old, 401 for one that was taken back; before each commit."""
    gate.add(Fault("POST", COMMIT, lambda _request, forward: [gate.revoke(), forward()][1], times=100))
    parts = [[*messages(singer, [number])] for number in range(4)]
    on_rest.ok(*parts, catalog=way(gate), batch_size_rows=1)
    assert on_rest.ids() == [0, 1, 2, 3]
    assert gate.refused.count(401) >= 2
    assert gate.issued >= 3


@pytest.mark.parametrize("tells_lifetime", [True, False], ids=["expires_in told", "expires_in not told"])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_tokens_that_live_one_second_are_renewed(on_rest, rest_server, singer, way, tells_lifetime):
    gate = TokenGate(
        rest_server.port, client=CLIENT, secret=SECRET, lifetime_seconds=1, tells_lifetime=tells_lifetime
    )
    with gate:
        gate.add(Fault("POST", COMMIT, delay(1.2), times=100))
        parts = [[*messages(singer, [number])] for number in range(2)]
        on_rest.ok(*parts, catalog=way(gate), batch_size_rows=1)
    assert on_rest.ids() == [0, 1]
    assert gate.issued >= 2
    assert set(gate.refused) <= {419}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_wrong_client_secret_is_told_by_setting_and_not_repeated(on_rest, gate, singer, way):
    wrong = "wr0ng-s3cret-of-the-test"
    done = on_rest.run(messages(singer, [1]), catalog=way(gate, wrong))
    told = done.stdout.decode() + done.stderr.decode()
    assert done.returncode == 2, told
    assert "refused the client. Check 'credential' (or 'auth') in setting 'catalog'" in told
    assert "Traceback" not in told
    assert wrong not in told


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_token_server_that_hangs_is_given_up_after_the_time_out(gate, proxy, way):
    proxy.add(Fault("POST", TokenGate.TOKEN_PATH, delay(30), times=100))
    catalog = way(gate)
    text = json.dumps(catalog).replace(gate.url + TokenGate.TOKEN_PATH, proxy.url + TokenGate.TOKEN_PATH)
    began = time.monotonic()
    with pytest.raises(RetriableError, match=r"did not answer in time .*'timeout_seconds'"):
        open_catalog({"catalog": json.loads(text), "timeout_seconds": 1, "max_retries": 0})
    assert time.monotonic() - began < 10


def test_a_secret_may_come_from_pyicebergs_own_variables(on_rest, gate, singer, monkeypatch):
    """The settings name the catalog, the environment holds the secret."""
    public = credential(gate)
    secret = public.pop("credential")
    with monkeypatch.context() as patched:
        patched.setenv("PYICEBERG_CATALOG__ICETAP__CREDENTIAL", secret)
        done = on_rest.run(messages(singer, [1]), catalog=public)
    assert done.returncode == 0, done.stderr
    assert SECRET not in done.stderr.decode()
    assert on_rest.ids() == [1]


# --- tables in S3 ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rest_on_s3(s3_server, tmp_path_factory):
    with rest_catalog(tmp_path_factory.mktemp("rest-s3"), store=s3_server) as server:
        yield server


@pytest.fixture
def on_s3(lake, rest_on_s3, s3_server):
    lake.config = {"catalog": rest(rest_on_s3, **s3_server.properties())}
    yield lake
    emptied(open_catalog(lake.config))


def test_rows_are_loaded_into_s3_and_changed_there(on_s3, singer, s3_server):
    on_s3.ok(messages(singer, [1, 2, 3]))
    on_s3.ok(
        [singer.schema(), singer.record({"id": 2, "name": "b2"}), *singer.records([4]), singer.state(s=4)]
    )
    assert on_s3.names() == {1: "a1", 2: "b2", 3: "a3", 4: "a4"}
    assert any(path.startswith("lake/warehouse/raw/s/data/") for path in s3_server.files("warehouse"))


def test_the_commands_work_on_it(on_s3, singer):
    on_s3.ok(messages(singer, [1, 2]))
    on_s3.ok(messages(singer, [3]))
    run, code, main, *config = on_s3.command()

    def said(*arguments):
        command = [run, code, main, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout

    assert json.loads(said(*config, "--read-state")) == singer.state(s=3)["value"]
    (table,) = json.loads(said("inspect", *config, "--json"))
    assert (table["table"], table["rows"], table["snapshots"]) == ("raw.s", 3, 2)
    said("maintain", *config)
    assert on_s3.ids() == [1, 2, 3]


def test_wrong_keys_of_the_store_are_told_by_setting_and_no_key_is_told(on_s3, rest_on_s3, s3_server, singer):
    wrong = {"s3.access-key-id": "WRONGKEYOFTHETEST", "s3.secret-access-key": "wr0ng+Key/of-the-test"}
    for name, value in wrong.items():
        catalog = rest(rest_on_s3, **{**s3_server.properties(), name: value})
        done = on_s3.run(messages(singer, [1]), catalog=catalog)
        told = done.stdout.decode() + done.stderr.decode()
        assert done.returncode == 2, told
        assert "Check 's3.access-key-id' and 's3.secret-access-key' in setting 'catalog'" in told
        assert "Traceback" not in told
        secrets = [*wrong.values(), s3_server.properties()["s3.secret-access-key"]]
        assert [one for one in secrets if one in told] == []


def test_a_store_that_answers_late_or_cuts_single_requests_is_asked_again(
    on_s3, rest_on_s3, s3_server, singer
):
    with HttpProxy(s3_server.port) as proxy:
        proxy.add(Fault("PUT", r"\.parquet", lose_request))
        proxy.add(Fault("PUT", r"\.avro", refuse(503), times=6))
        proxy.add(Fault("PUT", r"snap-", delay(1)))
        on_s3.ok(
            messages(singer, [1, 2]),
            catalog=rest(rest_on_s3, **s3_server.properties(port=proxy.port)),
        )
    assert on_s3.ids() == [1, 2]


def test_a_store_that_takes_requests_and_says_nothing_is_given_up(on_s3, rest_on_s3, s3_server, singer):
    with HttpProxy(s3_server.port) as proxy:
        proxy.add(Fault("POST", r"\.parquet", delay(60), times=1000))
        store = {**s3_server.properties(port=proxy.port), "s3.request-timeout": "1"}
        began = time.monotonic()
        outcome = on_s3.load(messages(singer, [1]), catalog=rest(rest_on_s3, **store), max_retries=0)
    assert isinstance(outcome.error, RetriableError)
    assert "the object store failed or cannot be reached" in str(outcome.error)
    assert time.monotonic() - began < 30


def test_a_store_that_fails_in_the_middle_of_a_commit_ends_the_run_and_the_next_one_loads_everything(
    on_s3, rest_on_s3, s3_server, singer
):
    on_s3.ok(messages(singer, [1]))
    with HttpProxy(s3_server.port) as proxy:
        proxy.add(Fault("PUT", r"\.avro", lose_request, times=1000))
        outcome = on_s3.load(
            messages(singer, [2]),
            catalog=rest(rest_on_s3, **s3_server.properties(port=proxy.port)),
            max_retries=0,
        )
    assert isinstance(outcome.error, RetriableError)
    assert "the object store failed or cannot be reached" in str(outcome.error)
    assert outcome.lines == []
    assert on_s3.ids() == [1]
    on_s3.ok(messages(singer, [2]))
    assert on_s3.ids() == [1, 2]

"""Asking: waits, retries, credentials, hosts, and what messages say."""

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from icetap.rest import (
    AllOf,
    ApiKey,
    Basic,
    Bearer,
    Client,
    ClientOptions,
    ErrorRule,
    ForeignHostError,
    Headers,
    Match,
    NoAccessError,
    NoPaging,
    OAuth2,
    OffsetPaging,
    PagePaging,
    PassingFaultError,
    PatienceError,
    Place,
    Rate,
    RefusedRequestError,
    Request,
    RetryPolicy,
    Session,
    Size,
    header,
    query,
)
from icetap.rest.limits import RateLimiter
from icetap.rest.rules import reset_seconds
from icetap.secrets import rotating
from icetap.secrets.keys import new_key
from icetap.secrets.store import open_store
from icetap.testing.api import FakeApi, Reply
from icetap.waiting import asked_wait

from .rest_tap import read, tap_of, things

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
SECRET = "s3cret/of+mine=="
QUICK = RetryPolicy(max_retries=2, first_wait=0.01, max_wait=5)


@pytest.fixture
def api():
    with FakeApi() as server:
        server.route("GET", "/things", lambda _: {"data": [{"id": 1}]})
        yield server


def client_of(api, **options):
    return Client(api.url, auth=options.pop("auth", None), options=ClientOptions(retry=QUICK, **options))


def failing(api, *replies):
    """Answer the first requests with these, then well."""
    left = list(replies)
    api.route("GET", "/things", lambda _: left.pop(0) if left else {"data": [{"id": 1}]})


# --- waits ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        pytest.param("3", 3.0, id="seconds"),
        pytest.param("2.0", 2.0, id="a fraction, as some send it"),
        pytest.param("Sat, 21 Nov 2026 12:00:30 GMT", 30.0, id="an HTTP date"),
        pytest.param("Sat, 21 Nov 2026 11:00:00 GMT", 0.0, id="a date in the past"),
        pytest.param("soon", None, id="nonsense"),
        pytest.param(None, None, id="nothing"),
    ],
)
def test_retry_after_is_seconds_or_a_date_by_the_servers_clock(value, seconds):
    assert asked_wait(value, now=NOON) == seconds


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        pytest.param({"RateLimit-Reset": "7"}, 7.0, id="seconds from now"),
        pytest.param({"X-RateLimit-Reset": str(int(NOON.timestamp()) + 9)}, 9.0, id="a time since 1970"),
        pytest.param({}, None, id="nothing"),
    ],
)
def test_a_reset_is_seconds_or_a_time(headers, seconds):
    assert reset_seconds(headers, now=NOON) == seconds


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_passing_statuses_are_asked_for_again(api, status):
    failing(api, Reply(b"", status=status), Reply(b"", status=status))

    assert client_of(api).get("/things") == {"data": [{"id": 1}]}
    assert len(api.calls) == 3


@pytest.mark.parametrize("status", [400, 404, 405, 409, 410, 422])
def test_other_statuses_are_not(api, status):
    failing(api, Reply({"secret": "of the body"}, status=status))

    with pytest.raises(RefusedRequestError, match=f"GET /things.*{status}") as raised:
        client_of(api).get("/things", key=SECRET)

    assert len(api.calls) == 1
    assert "of the body" not in str(raised.value)
    assert SECRET not in str(raised.value)


def test_the_apis_own_words_are_told_where_they_are_declared(api):
    failing(api, Reply({"error": {"message": "No such thing"}}, status=400))

    with pytest.raises(RefusedRequestError, match="'No such thing'"):
        client_of(api, error_text="$.error.message").get("/things")


def test_retries_end(api):
    failing(api, *[Reply(b"", status=500)] * 9)

    with pytest.raises(PassingFaultError, match="status 500, still after 3 attempts"):
        client_of(api).get("/things")

    assert len(api.calls) == 3


def test_a_server_that_says_how_long_is_waited_for(api):
    failing(api, Reply(b"", status=429, headers={"Retry-After": "0.3"}))
    began = time.monotonic()

    client_of(api).get("/things")

    assert time.monotonic() - began >= 0.3


def test_a_wait_that_is_too_long_ends_the_run(api):
    failing(
        api,
        Reply(
            b"",
            status=503,
            headers={"Retry-After": format_datetime(api.now() + timedelta(hours=1), usegmt=True)},
        ),
    )

    with pytest.raises(PatienceError, match="What was read so far is kept"):
        client_of(api).get("/things")


def test_an_api_that_throttles_in_its_own_words_is_understood(api):
    """GraphQL APIs answer 200 and say in the body that it was too much."""
    failing(api, Reply({"errors": [{"code": "THROTTLED"}], "restore": 0.05}))
    rule = ErrorRule(
        Match(path="$.errors[0].code", equals="THROTTLED"),
        "retry",
        wait=lambda answer: float(answer.document["restore"]),
    )

    assert client_of(api, rules=[rule]).get("/things") == {"data": [{"id": 1}]}


def test_a_limit_that_is_used_up_is_left_alone(api):
    failing(api, Reply({"data": []}, headers={"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "0.4"}))
    client = client_of(api)
    client.get("/things")
    began = time.monotonic()

    client.get("/things")

    assert time.monotonic() - began >= 0.3


@pytest.mark.parametrize(
    ("rates", "waits"),
    [
        pytest.param([Rate(60, 60.0)], [0, 0, 0, 0, 0, 0, 1, 2, 3], id="a first burst, then evenly"),
        pytest.param(
            [Rate(60, 60.0), Rate(2, 1.0)], [0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4], id="the slower of two"
        ),
    ],
)
def test_rates_are_kept(rates, waits):
    limiter = RateLimiter(rates, clock=lambda: 0.0)

    assert [limiter.reserve() for _ in waits] == pytest.approx(waits)


# --- credentials ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("auth", "found"),
    [
        pytest.param(
            ApiKey(header("X-Key"), SECRET), lambda call: call.headers["x-key"] == SECRET, id="header"
        ),
        pytest.param(ApiKey(query("key"), SECRET), lambda call: call.param("key") == SECRET, id="query"),
        pytest.param(
            ApiKey(Place("cookie", "sid"), "abc-123"),
            lambda call: call.headers["cookie"] == "sid=abc-123",
            id="cookie",
        ),
        pytest.param(
            Basic("ada", "ü:x"),
            lambda call: call.headers["authorization"] == "Basic YWRhOsO8Ong=",
            id="basic, in UTF-8",
        ),
        pytest.param(
            Basic(SECRET),
            lambda call: call.headers["authorization"].startswith("Basic "),
            id="basic, blank password",
        ),
        pytest.param(
            Bearer(SECRET, prefix="Token"),
            lambda call: call.headers["authorization"] == f"Token {SECRET}",
            id="bearer",
        ),
        pytest.param(
            AllOf([Headers({"X-App": "application"}), Bearer(SECRET)]),
            lambda call: call.headers["x-app"] == "application" and "authorization" in call.headers,
            id="two at once",
        ),
    ],
)
def test_requests_are_signed(api, auth, found):
    client_of(api, auth=auth).get("/things")

    assert found(api.calls[0])


def token_server(api, *, lives=3600):
    """A token endpoint; a token is good for one request after `api.tokens` was emptied."""
    api.tokens = []

    def give(call):
        api.tokens.append(f"token-{len(api.calls)}")
        return {"access_token": api.tokens[-1], "expires_in": lives, "refresh_token": "another one"}

    def things_of_signed(call):
        good = api.tokens and call.headers.get("authorization") == f"Bearer {api.tokens[-1]}"
        return {"data": [{"id": 1}]} if good else Reply({"e": 1}, status=401)

    api.route("POST", "/token", give)
    api.route("GET", "/things", things_of_signed)


def oauth(grant="client_credentials", **options):
    fields = {
        "client_id": "me",
        "client_secret": SECRET,
        "refresh_token": "r1" if grant == "refresh_token" else None,
    }
    return OAuth2("/token", grant=grant, fields=fields, **options)


@pytest.mark.parametrize("client_auth", ["body", "basic"])
def test_oauth_fetches_one_token_for_many_requests(api, client_auth):
    token_server(api)
    client = client_of(api, auth=oauth(client_auth=client_auth, scopes=["read"]))

    for _ in range(3):
        client.get("/things")

    asked = [call for call in api.calls if call.path == "/token"]
    assert len(asked) == 1
    assert asked[0].form["scope"] == "read"
    assert ("client_secret" in asked[0].form) is (client_auth == "body")


def test_a_token_that_ends_in_mid_run_is_renewed_once_per_request(api):
    token_server(api)
    client = client_of(api, auth=oauth())
    client.get("/things")
    api.tokens.append("another: the server has forgotten ours")

    client.get("/things")

    assert [call.path for call in api.calls] == ["/token", "/things", "/things", "/token", "/things"]


def test_a_token_is_renewed_before_it_ends(api):
    token_server(api, lives=0.1)
    client = client_of(api, auth=oauth())
    client.get("/things")
    time.sleep(0.1)
    client.get("/things")

    assert [call.path for call in api.calls] == ["/token", "/things", "/token", "/things"]


def test_a_replaced_refresh_token_is_used_and_told(api, caplog):
    token_server(api)
    client = client_of(api, auth=oauth("refresh_token"))
    client.get("/things")
    client.auth.renew()
    client.get("/things")

    asked = [call.form["refresh_token"] for call in api.calls if call.path == "/token"]
    assert asked == ["r1", "another one"]
    assert "has replaced the refresh token" in caplog.text
    assert "another one" not in caplog.text


def test_a_replaced_refresh_token_of_the_store_is_written_back_before_it_is_needed(
    api, monkeypatch, tmp_path
):
    monkeypatch.setenv("CONNECTOR_ENCRYPTION_KEY", new_key())
    monkeypatch.setenv("ICETAP_SECRETS_FILE", str(tmp_path / "secrets.json"))
    monkeypatch.setitem(rotating.ORIGINS, "r1", "secret://api/refresh")
    store = open_store()
    store.set("api/refresh", "what an earlier run left")
    token_server(api)

    client_of(api, auth=oauth("refresh_token")).get("/things")

    assert [call.form["refresh_token"] for call in api.calls if call.path == "/token"] == [
        "what an earlier run left"
    ]
    assert store.get("api/refresh") == "another one"


def test_a_session_signs_in_by_a_call_of_its_own(api):
    api.route("POST", "/login", lambda call: {"sid": f"for {call.json['user']}"})
    auth = Session(
        lambda: Request(path="/login", method="POST", json={"user": "ada"}),
        token="$.sid",
        send=lambda token: ApiKey(header("X-Session"), token),
    )

    client_of(api, auth=auth).get("/things")

    assert api.calls[-1].headers["x-session"] == "for ada"


def test_refused_credentials_name_the_setting_and_are_not_tried_again(api):
    failing(api, Reply({"e": 1}, status=403))

    with pytest.raises(NoAccessError, match="setting 'api_key'"):
        client_of(api, credential_settings=["api_key"]).get("/things")

    assert len(api.calls) == 1


# --- hosts ------------------------------------------------------------------------------------------


def test_a_redirect_on_the_same_host_is_followed_with_credentials(api):
    api.route("GET", "/old", lambda _: Reply(b"", status=308, headers={"Location": "/things"}))

    client_of(api, auth=Bearer(SECRET)).get("/old")

    assert [call.headers["authorization"] for call in api.calls] == [f"Bearer {SECRET}"] * 2


@pytest.mark.parametrize("is_link", [True, False], ids=["a link", "a redirect"])
def test_credentials_go_to_no_other_host(api, is_link):
    with FakeApi() as stranger:
        stranger.route("GET", "/things", lambda _: {"data": []})
        api.route(
            "GET", "/old", lambda _: Reply(b"", status=302, headers={"Location": f"{stranger.url}/things"})
        )

        with pytest.raises(ForeignHostError, match=r"127\.0\.0\.1"):
            client_of(api, auth=ApiKey(header("X-Key"), SECRET)).get(
                f"{stranger.url}/things" if is_link else "/old"
            )

        assert stranger.calls == []


def test_an_allowed_host_gets_them(api):
    with FakeApi() as other:
        other.route("GET", "/things", lambda _: {"data": []})
        allowed = (other.url.removeprefix("http://"),)

        client_of(api, auth=Bearer(SECRET), allowed_hosts=allowed).get(f"{other.url}/things")

        assert "authorization" in other.calls[0].headers


def test_a_download_from_another_host_does_not_see_them(api):
    with FakeApi() as store:
        store.route("GET", "/file", lambda _: Reply(b"x" * 3_000_000))

        with client_of(api, auth=Bearer(SECRET)).download(
            Request(path=f"{store.url}/file", is_signed=False)
        ) as file:
            assert len(file.read()) == 3_000_000

        assert "authorization" not in store.calls[0].headers


def test_a_download_that_is_cut_off_is_asked_for_again(api):
    left = [Reply(b"x" * 1000, cut_after=10)]
    api.route("GET", "/file", lambda _: left.pop() if left else Reply(b"x" * 1000))

    with client_of(api).download(Request(path="/file")) as file:
        assert file.read() == b"x" * 1000


@pytest.mark.parametrize("url", ["http://169.254.169.254/latest/meta-data", "http://[fe80::1]/x"])
def test_link_local_addresses_are_never_asked(api, url):
    with pytest.raises(ForeignHostError, match="inner network"):
        client_of(api).send(Request(path=url, is_signed=False))


def test_private_addresses_can_be_refused(api):
    with pytest.raises(ForeignHostError, match="inner network"):
        client_of(api, block_private=True).get("/things")


def test_cookies_of_answers_are_not_kept(api):
    failing(api, Reply({"data": []}, headers={"Set-Cookie": "track=1; Path=/"}))
    client = client_of(api)
    client.get("/things")
    client.get("/things")

    assert "cookie" not in api.calls[1].headers


# --- several at once --------------------------------------------------------------------------------


def test_parallel_requests_keep_order_and_are_faster(api):
    """Children of sixteen parents, each 60 ms away."""
    api.latency = 0.06
    api.route(
        "GET",
        "/things",
        lambda call: {"data": [{"id": n} for n in range(16)] if call.param("page") == "1" else []},
    )
    api.route(
        "GET",
        "/things/{id}/parts",
        lambda call: {"data": [{"id": int(call.groups["id"]) * 10 + n} for n in range(2)]},
    )
    parent = things(
        PagePaging(page=query("page"), size=Size(query("size"), 16)), child_context={"thing_id": "$.id"}
    )
    child = things(NoPaging(), name="parts", path="/things/{thing_id}/parts", parent="things")
    seconds, orders = [], []
    for workers in (1, 8):
        began = time.monotonic()
        run = read(api, tap=tap_of(parent, child), max_parallel=workers).good()
        seconds.append(time.monotonic() - began)
        orders.append([record["id"] for record in run.records("parts")])

    assert orders[0] == orders[1] == [n * 10 + m for n in range(16) for m in range(2)]
    assert seconds[0] > 2 * seconds[1], f"8 requests at once took {seconds[1]:.2f} s, one {seconds[0]:.2f} s"


@pytest.mark.parametrize(
    "paging",
    [
        pytest.param(
            PagePaging(page=query("page"), size=Size(query("size"), 5), total_pages="$.pages"), id="pages"
        ),
        pytest.param(
            PagePaging(page=query("page"), size=Size(query("size"), 5), total="$.total"), id="total"
        ),
        pytest.param(
            OffsetPaging(offset=query("offset"), size=Size(query("size"), 5), total="$.total"), id="offset"
        ),
        pytest.param(
            OffsetPaging(offset=query("offset"), size=Size(query("size"), 9), total="$.total"),
            id="a capped page size",
        ),
    ],
)
def test_pages_of_a_known_number_are_asked_for_ahead(api, paging):
    def answer(call):
        start = int(call.param("offset", "-1"))
        start = (int(call.param("page", "1")) - 1) * 5 if start < 0 else start
        return {"data": [{"id": n} for n in range(43)][start : start + 5], "total": 43, "pages": 9}

    api.route("GET", "/things", answer)

    run = read(api, things(paging), max_parallel=4).good()

    assert [record["id"] for record in run.records("things")] == list(range(43))
    assert len(api.calls) == 9


def test_what_starts_something_is_asked_once_unless_the_server_has_refused_it(api):
    replies = [Reply(status=429, headers={"Retry-After": "0"}), Reply(status=502), Reply({"id": 2})]
    api.route("POST", "/jobs", lambda _: replies.pop(0))

    with pytest.raises(PassingFaultError, match="status 502"):
        client_of(api).send(Request("/jobs", method="POST", is_repeatable=False))

    assert len(api.calls) == 2
    assert client_of(api).send(Request("/jobs", method="POST", is_repeatable=False)).document == {"id": 2}

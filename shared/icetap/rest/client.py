"""The one HTTP client of all REST taps: signs, asks, waits, tries again, and says what happened without saying secrets."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from http import HTTPStatus
from http.cookiejar import DefaultCookiePolicy
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter

from icetap.errors import ConfigurationError
from icetap.rest.answers import Answer, Format, UnreadableAnswerError, is_html
from icetap.rest.auth import Auth, NoAuth
from icetap.rest.failures import (
    CredentialsError,
    NoAccessError,
    PassingFaultError,
    PatienceError,
    RefusedRequestError,
    SkippedPartError,
)
from icetap.rest.hosts import HostRules
from icetap.rest.jsonpath import JSONPath
from icetap.rest.limits import Rate, RateLimiter
from icetap.rest.rules import ErrorRule, RetryPolicy, exhausted_seconds, verdict
from icetap.rest.templates import as_text
from icetap.secrets.redaction import REDACTOR, server_words
from icetap.secrets.scratch import encrypted_file
from icetap.waiting import wait

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from icetap.rest.cache import AnswerCache
    from icetap.rest.request import Request

MAX_REDIRECTS = 5
CHUNK_BYTES = 1024 * 1024
RULED_BYTES = 64 * 1024
"""Of a larger body that is saved as a file, rules see nothing."""

ASKED_RETRIES = 10
"""A server that says how long to wait may do so this many times as often as one that merely fails."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_ERROR_TEXT_CHARACTERS = 300


@dataclass(frozen=True, kw_only=True)
class ClientOptions:
    """How a client behaves; `RestTap` fills this in from its settings."""

    user_agent: str = "icetap"
    timeout_seconds: float = 60.0
    max_parallel: int = 1
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    rates: Sequence[Rate] = ()
    rules: Sequence[ErrorRule] = ()
    error_text: str | None = None
    """A JSONPath to the API's own words for an error; only these get into messages, never a body."""

    credential_settings: Sequence[str] = ()
    """The settings to name when the API refuses the credentials."""

    allowed_hosts: tuple[str, ...] = ()
    block_private: bool = False


class RestartPagingSignal(Exception):  # noqa: N818 -- no error: a rule says that the cursor is no longer good
    """A rule says that the pages have to be gone through anew."""


class StopPagingSignal(Exception):  # noqa: N818 -- no error: a rule takes this answer for the end
    """A rule says that the pages end here."""


class Client:
    """Asks one API. Safe to use from several threads, which together keep `max_parallel` and the rate limits.

    Args:
        base_url: What paths are relative to.
        auth: How requests are signed.
        options: Limits, retries, rules.
        logger: Told of waits and retries; names and counts only.
        check: Called while waiting; raises when the run has to stop.
    """

    def __init__(
        self,
        base_url: str,
        *,
        auth: Auth | None = None,
        options: ClientOptions | None = None,
        logger: logging.Logger | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.auth = auth or NoAuth()
        self.options = options or ClientOptions()
        self.logger = logger or logging.getLogger("icetap.rest")
        self.check = check
        self.hosts = HostRules(
            self.base_url, allowed_hosts=self.options.allowed_hosts, block_private=self.options.block_private
        )
        self.counts: Counter[str] = Counter()
        """Requests, retries and seconds waited, in all."""

        self.cache: AnswerCache | None = None
        self._limiter = RateLimiter(self.options.rates)
        self._slots = threading.BoundedSemaphore(self.options.max_parallel)
        self._not_before = 0.0
        self._lock = threading.Lock()
        self._error_text = JSONPath(self.options.error_text) if self.options.error_text else None
        self._session = self._new_session()
        self._environments: dict[str, Mapping[str, Any]] = {}

    def _new_session(self) -> requests.Session:
        session = requests.Session()
        adapter = HTTPAdapter(pool_maxsize=self.options.max_parallel, max_retries=0)
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        session.headers["User-Agent"] = self.options.user_agent
        session.headers["Accept"] = "application/json, */*;q=0.5"
        # A cookie that one answer sets must not travel with requests to other hosts, or into other runs' pages.
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        return session

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    # --- asking -----------------------------------------------------------------------------------

    def send(
        self, request: Request, *, rules: Sequence[ErrorRule] = (), answer_format: Format | None = None
    ) -> Answer:
        """Ask until there is a good answer.

        Args:
            request: What to ask; it is not changed.
            rules: Rules for answers to this request, before the client's own.
            answer_format: How the body is to be read; JSON when left out.

        Raises:
            CredentialsError: 401.
            NoAccessError: 403, or where a rule says so.
            RefusedRequestError: Another status that trying again would not change.
            PassingFaultError: When the retries are used up.
            PatienceError: When the server asks for a longer wait than allowed.
            SkippedPartError: When a rule says `skip`.
            ForeignHostError: When the request leads to a host that the credentials are not for.
        """
        cached = self.cache.get(request) if self.cache else None
        if cached is not None:
            return Answer(**cached, format=answer_format or Format())
        answer = self._until_good(request, [*rules, *self.options.rules], answer_format or Format())
        if self.cache:
            self.cache.put(request, answer)
        return answer

    def get(self, path: str, **params: Any) -> Any:
        """Return the document that a GET answers with."""
        from icetap.rest.request import Request  # noqa: PLC0415 -- the name is for callers' convenience only here

        return self.send(Request(path=path, params=params)).document

    def sign_in(self, request: Request, *, what: str) -> Answer:
        """Ask for a token; every refusal means that the settings are wrong.

        Raises:
            CredentialsError: Naming the settings.
        """
        try:
            return self._until_good(request, (), Format())
        except RefusedRequestError as error:
            raise CredentialsError(
                f"{what} refuses the credentials ({error.status}). {self._advice()}"
            ) from None

    def url_of(self, request: Request) -> str:
        """Return the whole URL of a request, without its parameters."""
        if "://" in request.path:
            return request.path
        return f"{self.base_url}/{request.path.lstrip('/')}" if request.path else self.base_url

    def _until_good(self, request: Request, rules: Sequence[ErrorRule], answer_format: Format) -> Answer:
        attempt, was_renewed = 0, False
        while True:
            attempt += 1
            answer: Answer | None = None
            try:
                answer = self._exchange(request, answer_format)
                rule = verdict(answer, rules)
                if rule is None:
                    self._readable(answer)
                    return answer
            except _Broken as error:
                rule, why = None, str(error)
            else:
                why = f"status {answer.status}"
                auth = request.auth or self.auth
                renewable = request.is_signed and auth.is_renewable and not was_renewed
                if renewable and (rule.action == "refresh_auth" or answer.status == 401):
                    auth.renew()
                    was_renewed = True
                    continue
                if rule.action != "retry":
                    self._refuse(request, answer, rule)
            self._wait(request, answer, rule=rule, attempt=attempt, why=why)

    def _readable(self, answer: Answer) -> None:
        if answer.format.name != "none":
            try:
                _ = answer.document
            except UnreadableAnswerError as error:
                raise _Broken(str(error)) from error

    def _wait(
        self, request: Request, answer: Answer | None, *, rule: ErrorRule | None, attempt: int, why: str
    ) -> None:
        """Wait before the next attempt, or give up."""
        policy = self.options.retry
        asked = None
        if answer is not None:
            asked = rule.wait(answer) if rule is not None and rule.wait else policy.asked_wait(answer)
        name = _name_of(request)
        if asked is not None and asked > policy.max_wait:
            raise PatienceError(
                f"{name}: {why}; the server asks to wait {asked:.0f} s, more than the {policy.max_wait:.0f} s that "
                "this tap waits. What was read so far is kept; run again later."
            )
        allowed = policy.max_retries * (1 if asked is None else ASKED_RETRIES)
        if asked is None and not request.is_repeatable:
            allowed = 0
        if attempt > allowed:
            text = "" if answer is None else self._words(answer)
            raise PassingFaultError(
                f"{name}: {why}, still after {attempt} attempts{text}. If the API works otherwise, check its address; "
                "'max_retries' and 'timeout_seconds' give it more time.",
                wait=asked,
            )
        seconds = policy.wait_of_its_own(attempt) if asked is None else asked
        self.logger.warning("%s: %s; attempt %d follows in %.1f s", name, why, attempt + 1, seconds)
        with self._lock:
            self.counts["retries"] += 1
        if asked is not None:
            self.leave_alone(seconds)  # the others need not find out for themselves
        self._pause(seconds)

    def _refuse(self, request: Request, answer: Answer, rule: ErrorRule) -> None:
        name = _name_of(request)
        text = rule.text(answer)
        told = self._words(answer)
        words = f"{told}. {text}" if text else told
        status = answer.status
        match rule.action:
            case "stop":
                raise StopPagingSignal
            case "restart":
                raise RestartPagingSignal(f"{name}: status {status}{words}")
            case "skip":
                raise SkippedPartError(f"{name}: status {status}{words}", reason=text or f"status {status}")
            case "no_access" | "refresh_auth":
                end = "" if text else f". {self._advice()}"
                refused = NoAccessError if text or status != HTTPStatus.UNAUTHORIZED else CredentialsError
                raise refused(f"{name}: the API refuses the credentials (status {status}{words}){end}")
        raise RefusedRequestError(
            f"{name}: the API refuses the request (status {status}{words})", status=status
        )

    def _words(self, answer: Answer) -> str:
        """Return the API's own words for an error, where it is declared which they are and no mask hides values."""
        found = answer.first(self._error_text) if self._error_text else None
        if found is None:
            return ""
        words = as_text(found)[:_ERROR_TEXT_CHARACTERS]
        told = server_words(words)
        return f", '{told}'" if told == words else f", {told}"

    def _advice(self) -> str:
        names = " and ".join(f"'{name}'" for name in self.options.credential_settings)
        return (
            f"Check the setting {names}, and what it is allowed to read."
            if names
            else "Check the credentials."
        )

    # --- one exchange -----------------------------------------------------------------------------

    def _exchange(self, request: Request, answer_format: Format) -> Answer:
        response = self._respond(request, stream=False)
        try:
            content = response.content
        except requests.RequestException as error:
            raise _Broken(f"the answer was cut off ({type(error).__name__})") from error
        answer = Answer(response.status_code, response.headers, response.url, content, answer_format)
        pause = exhausted_seconds(answer.headers, now=answer.date)
        if pause is not None and pause <= self.options.retry.max_wait:
            self.leave_alone(pause)
        return answer

    def _respond(self, request: Request, *, stream: bool) -> requests.Response:
        """Follow redirects by hand: `requests` would send API keys to whatever host an answer names."""
        url = self.url_of(request)
        for _ in range(MAX_REDIRECTS + 1):
            self.hosts.check(url, signed=request.is_signed)
            response = self._once(request, url, stream=stream)
            location = response.headers.get("Location")
            if response.status_code not in _REDIRECTS or not location:
                return response
            response.close()
            request, url = request.redirected(response.status_code), urljoin(url, location)
            if stream and request.method == "GET" and not self.hosts.trusts(url):
                request = request.for_strangers()  # large bodies often lie in a store of files elsewhere
                REDACTOR.add(urlsplit(url).query)
        raise _Broken(f"more than {MAX_REDIRECTS} redirects")

    def _once(self, request: Request, url: str, *, stream: bool) -> requests.Response:
        self._wait_for_turn()
        signed = request.copy()
        if request.is_signed:
            (request.auth or self.auth).sign(signed, self)
        prepared = self._prepared(signed, url)
        settings = {**self._environment(url), "stream": stream}
        with self._slots, self._faults():
            with self._lock:
                self.counts["requests"] += 1
            response = self._session.send(
                prepared, timeout=self.options.timeout_seconds, allow_redirects=False, **settings
            )
            if not stream:
                _ = response.content  # inside of the slot, so that `max_parallel` holds for bodies too
            return response

    def _environment(self, url: str) -> Mapping[str, Any]:
        """Return proxies and certificates as the environment has them; looked up once for each host, as it is slow."""
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc}"
        if origin not in self._environments:
            self._environments[origin] = self._session.merge_environment_settings(
                origin, {}, None, None, None
            )
        return self._environments[origin]

    def _prepared(self, signed: Request, url: str) -> requests.PreparedRequest:
        params = [
            (name, as_text(value))
            for name, given in signed.params.items()
            for value in (given if isinstance(given, list) else [given])
        ]
        data = (
            signed.form
            if signed.form is not None
            else signed.text.encode()
            if signed.text is not None
            else None
        )
        made = requests.Request(
            signed.method,
            url,
            params=params,
            headers={**self._session.headers, **signed.headers},
            cookies=signed.cookies,
            json=signed.json,
            data=data,
        )
        return made.prepare()

    @contextlib.contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except (requests.exceptions.SSLError, requests.exceptions.InvalidURL) as error:
            raise ConfigurationError(
                f"the connection to {urlsplit(self.base_url).hostname} cannot be trusted or made "
                f"({type(error).__name__}). Check the address; own certificates are named by REQUESTS_CA_BUNDLE."
            ) from error
        except requests.Timeout as error:
            raise _Broken(f"no answer within {self.options.timeout_seconds:g} s") from error
        except requests.RequestException as error:
            raise _Broken(f"the connection failed ({type(error).__name__})") from error

    # --- waiting ----------------------------------------------------------------------------------

    def _wait_for_turn(self) -> None:
        self.check()
        self._pause(self._limiter.reserve())
        while (seconds := self._not_before - time.monotonic()) > 0:
            self._pause(seconds)

    def leave_alone(self, seconds: float) -> None:
        """Let no request go out for so many seconds: for limits that an API tells of in its own way."""
        with self._lock:
            self._not_before = max(self._not_before, time.monotonic() + seconds)

    def _pause(self, seconds: float) -> None:
        """Sleep, and stop when the run has to."""
        if seconds > 0:
            with self._lock:
                self.counts["waited_ms"] += int(seconds * 1000)
            wait(seconds, check=self.check)

    # --- large bodies -----------------------------------------------------------------------------

    def download(
        self,
        request: Request,
        *,
        rules: Sequence[ErrorRule] = (),
        answer_format: Format | None = None,
        told: Callable[[Answer], None] = lambda _: None,
    ) -> IO[bytes]:
        """Return a body of any size as an encrypted file that is gone when it is closed; holds 1 MiB of it in memory.

        The file is whole: an answer that is cut off is asked for again. `request.is_signed = False` for signed URLs of
        another host, which must not see the credentials.

        Args:
            request: What to ask; it is not changed.
            rules: Rules for answers to this request; they see JSON of up to 64 KiB, of others status and headers.
            answer_format: What the body is; with it a page of HTML is no answer.
            told: Told of the answer that the file is of, as the rules see it.
        """
        attempt = 0
        while True:
            attempt += 1
            answer = None
            rule = None
            try:
                with self._respond(request, stream=True) as response:
                    file = self._saved(response)
                    answer = _answer_to_rules(response, file, answer_format or Format("none"))
                rule = verdict(answer, [*rules, *self.options.rules])
                if rule is None:
                    self._readable(answer)
                    told(answer)
                    return file
                file.close()
                why = f"status {answer.status}"
                if rule.action != "retry":
                    self._refuse(request, answer, rule)
            except _Broken as error:
                why = str(error)
            self._wait(request, answer, rule=rule, attempt=attempt, why=why)

    def _saved(self, response: requests.Response) -> IO[bytes]:
        file = encrypted_file()
        try:
            for chunk in response.iter_content(CHUNK_BYTES):
                self.check()
                file.write(chunk)
        except requests.RequestException as error:
            file.close()
            raise _Broken(f"the answer was cut off ({type(error).__name__})") from error
        except BaseException:
            file.close()
            raise
        file.seek(0)
        return file


def _answer_to_rules(response: requests.Response, file: IO[bytes], answer_format: Format) -> Answer:
    """Return an answer whose body is in a file, with that body when it is small and JSON.

    Raises:
        _Broken: When it is a page for people.
    """
    head = file.read(RULED_BYTES + 1)
    file.seek(0)
    if response.ok and answer_format.kind != "none" and is_html(head):
        file.close()
        raise _Broken(f"an HTML page (status {response.status_code})")
    seen_as = answer_format if response.ok else Format()
    is_seen = len(head) <= RULED_BYTES and seen_as.kind == "json" and seen_as.compression != "zip"
    body, seen_as = (head, seen_as) if is_seen else (b"", Format("none"))
    return Answer(response.status_code, response.headers, response.url, body, seen_as)


class _Broken(Exception):  # noqa: N818 -- inside of this module only
    """No answer, or one that makes no sense; trying again may help."""


def _name_of(request: Request) -> str:
    """Return what a message calls a request: its method and path, never its parameters."""
    if request.template is not None and REDACTOR.hides_values:
        return f"{request.method} {request.template}"
    return f"{request.method} {urlsplit(request.path).path or '/'}"

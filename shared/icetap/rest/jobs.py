"""Jobs: reports and exports that an API makes in its own time. They are created, asked after, and fetched when done.

A job that is under way is noted in the state, so that the run after a killed one waits for it instead of creating
another. One that the run does not wait for to its end is called off, where the API has a request for that.
"""

from __future__ import annotations

import threading
import time
import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from icetap.errors import IcetapError, RetriableError
from icetap.rest.answers import Format
from icetap.rest.client import Client, RestartPagingSignal, StopPagingSignal
from icetap.rest.failures import RefusedRequestError, UnreadableStreamError
from icetap.rest.jsonpath import JSONPath
from icetap.rest.marks import mark_for
from icetap.rest.parts import RecordPage
from icetap.rest.reading import PageReader
from icetap.rest.request import Request
from icetap.rest.rules import RetryPolicy
from icetap.rest.templates import as_text
from icetap.secrets.redaction import REDACTOR
from icetap.waiting import wait

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from icetap.rest.answers import Answer
    from icetap.rest.parts import Part
    from icetap.rest.request import Asked
    from icetap.rest.stream import RestStream

HASTY_SECONDS = 5.0
_SHOWN_CHARACTERS = 100


class JobError(RetriableError):
    """A job has failed, or has not come to its end in time; another one may."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """How a stream is read by jobs; what creates one is the stream's own request (`path`, `method`, `body`, …).

    The requests may use `{job.id}`, `{job.key}` and, to fetch the result, `{job.response.…}`: the answer that said
    "done". `{job.key}` is a text that no other job has. An API that knows it from an earlier attempt, whose answer was
    lost, starts no second job.
    """

    poll: Asked
    status: str
    """Where the answer to `poll` has the job's status, as JSONPath."""

    done: Sequence[Any]
    """Values of the status at the end of a job; any value that is neither here nor in `failed` means "not yet"."""

    failed: Sequence[Any] = ()
    id: str | None = None
    """Where the answer to the first request has the job's name."""

    every_seconds: float = 10.0
    timeout_seconds: float = 3600.0
    urls: str | None = None
    """Where the last answer has the addresses of the result; null there means that it is empty."""

    download: Asked | None = None
    """The request for the result, where there is no address of it."""

    abort: Asked | None = None
    """The request that calls a job off."""


@dataclass(frozen=True)
class Begun:
    """A job under way."""

    part: Part
    """What it is of; `part.job` names it."""

    created_at: datetime
    as_of: datetime
    """The server's own time when it was created: its result knows nothing newer."""


class Jobs:
    """The jobs of one stream that are under way, and those that an earlier run has left; safe for several threads."""

    def __init__(self, stream: RestStream) -> None:
        self._stream = stream
        self._running: dict[str, Begun] = {}
        self._notes: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()

    def begin(self, notes: Mapping[str, Mapping[str, Any]]) -> None:
        """Take over what the state notes of an earlier run's jobs, as far as they are young enough to be waited for."""
        job = self._stream.job
        limit = job.timeout_seconds if job else 0
        self._notes = {
            mark: dict(note)
            for mark, note in notes.items()
            if (datetime.now(UTC) - datetime.fromisoformat(note["created_at"])).total_seconds() < limit
        }

    def notes(self) -> dict[str, Any]:
        """Return what the state has to note."""
        with self._lock:
            return {mark: dict(note) for mark, note in self._notes.items()}

    def left(self, mark: str, part: Part) -> Begun | None:
        """Return the job that was created by the same request, and whose end nobody has seen."""
        note = self.notes().get(mark)
        if note is None:
            return None
        times = (datetime.fromisoformat(note[name]) for name in ("created_at", "as_of"))
        begun = Begun(replace(part, job=note["job"]), *times)
        with self._lock:
            self._running[mark] = begun
        return begun

    def add(self, mark: str, begun: Begun) -> None:
        """Note a job that has been created; one without a name could not be found again."""
        with self._lock:
            self._running[mark] = begun
            if begun.part.job.get("id") is not None:
                self._notes[mark] = {
                    "job": dict(begun.part.job),
                    "created_at": begun.created_at.isoformat(),
                    "as_of": begun.as_of.isoformat(),
                }

    def is_done(self, mark: str) -> None:
        """Take note that a job has ended, so that there is nothing to call off."""
        with self._lock:
            self._running.pop(mark, None)

    def forget(self, mark: str) -> None:
        """Take note that nothing of a job is needed any more."""
        with self._lock:
            self._running.pop(mark, None)
            self._notes.pop(mark, None)

    def call_off(self, mark: str | None = None) -> None:
        """Call off one job, or all that are under way; what the API says to that is only logged."""
        with self._lock:
            marks = [mark] if mark is not None else list(self._running)
            running = {each: self._running.pop(each) for each in marks if each in self._running}
        stream = self._stream
        for each, begun in running.items():
            if stream.job is None or stream.job.abort is None:
                continue
            is_off = _agrees(stream.client, stream.asked(stream.job.abort, begun.part))
            stream.logger.warning(
                "Stream %s: its job was %s",
                stream.name,
                "called off" if is_off else "not called off: the API refuses",
            )
            if is_off:
                self.forget(each)


class JobReader:
    """Reads one part of a stream by a job; holds what the reader of its result holds."""

    def __init__(self, stream: RestStream, part: Part, job: Job) -> None:
        self._stream = stream
        self._part = part
        self._job = job
        self._mark = mark_for(stream, stream.request_for(replace(part, job={"key": ""})).asked())

    def pages(self) -> Iterator[RecordPage]:
        """Yield the result's records, and before them a page without any when the state has a new job to note.

        Raises:
            JobError: When the job fails, or takes longer than it may.
            UnreadableStreamError: When an answer does not have what the declaration says.
        """
        jobs = self._stream.jobs
        done = self._earlier()
        if done is None:
            begun = self._created()
            jobs.add(self._mark, begun)
            yield RecordPage([], is_news=True)
            done = self._waited_for(begun)
        for request in self._results(done):
            yield from PageReader(self._stream, self._part, base=request).pages()
        jobs.forget(self._mark)

    def _earlier(self) -> Part | None:
        """Wait for the job of an earlier run that was created by the same request; None when there is none to be had."""
        stream = self._stream
        begun = stream.jobs.left(self._mark, self._part)
        if begun is None:
            return None
        try:
            done = self._waited_for(begun)
        except (RefusedRequestError, JobError) as error:
            stream.logger.warning("Stream %s: creating another job: %s", stream.name, error)
            stream.jobs.forget(self._mark)
            return None
        if stream.progress is not None:
            stream.progress.not_later_than(begun.as_of)
        stream.logger.info("Stream %s: went on with the job of an earlier run", stream.name)
        return done

    def _created(self) -> Begun:
        key = uuid.uuid4().hex
        answer = self._asked(self._stream.request_for(replace(self._part, job={"key": key})))
        found: dict[str, Any] = {"key": key}
        if self._job.id is not None:
            found["id"] = JSONPath(self._job.id).first(answer.document)
            if found["id"] is None:
                raise UnreadableStreamError(
                    f"the answer to `job.create` has no name of the job at '{self._job.id}'"
                )
        now = datetime.now(UTC)
        return Begun(replace(self._part, job=found), created_at=now, as_of=min(now, answer.date or now))

    def _waited_for(self, begun: Begun) -> Part:
        """Return the part with the answer that says "done"; whatever comes before that calls the job off."""
        try:
            document = self._done(begun)
        except BaseException:
            self._stream.jobs.call_off(self._mark)
            raise
        self._stream.jobs.is_done(self._mark)
        return replace(begun.part, job={**begun.part.job, "response": document})

    def _done(self, begun: Begun) -> Any:
        job, stream = self._job, self._stream
        age = (datetime.now(UTC) - begun.created_at).total_seconds()
        end = time.monotonic() + job.timeout_seconds - max(0.0, age)
        path = JSONPath(job.status)
        while True:
            answer = self._asked(stream.asked(job.poll, begun.part))
            status = path.first(answer.document)
            if status in job.done:
                return answer.document
            if status is None:
                raise UnreadableStreamError(f"the answer to `job.poll` has no status at '{job.status}'")
            if status in job.failed:
                raise JobError(f"the job has ended as '{as_text(status)[:_SHOWN_CHARACTERS]}'")
            if time.monotonic() + job.every_seconds > end:
                raise JobError(
                    f"the job is still '{as_text(status)[:_SHOWN_CHARACTERS]}' after the {job.timeout_seconds:g} s of "
                    "`job.timeout`. Allow it more time, or read shorter windows."
                )
            wait(job.every_seconds, check=stream.client.check)

    def _results(self, done: Part) -> Iterator[Request]:
        stream, job = self._stream, self._job
        if job.download is not None:
            yield stream.asked(job.download, done)
            return
        path = JSONPath(job.urls or "$")
        found = list(path.values(done.job["response"]))
        if not found and not path.leads_somewhere(done.job["response"]):
            raise UnreadableStreamError(
                f"the answer that ends the job has no address of its result at '{path.text}'"
            )
        for url in [each for value in found for each in (value if isinstance(value, list) else [value])]:
            if url is not None:
                whole = urljoin(f"{stream.client.base_url}/", as_text(url))
                # The result often lies in a store of files. It must not see the credentials, and its address is one itself.
                is_signed = stream.client.hosts.trusts(whole)
                if not is_signed:
                    REDACTOR.add(urlsplit(whole).query)
                yield Request(path=whole, is_signed=is_signed)

    def _asked(self, request: Request) -> Answer:
        self._stream.requests += 1
        return self._stream.client.send(request, rules=self._stream.errors)


def _agrees(client: Client, request: Request) -> bool:
    """Ask without waiting or trying again, also when the run has to stop; say whether the API agrees."""
    options = replace(
        client.options,
        timeout_seconds=HASTY_SECONDS,
        max_parallel=1,
        rates=(),
        retry=RetryPolicy(max_retries=0),
    )
    hasty = Client(client.base_url, auth=client.auth, options=options)
    try:
        hasty.send(request, answer_format=Format("none"))
    except (IcetapError, StopPagingSignal, RestartPagingSignal):
        return False
    finally:
        hasty.close()
    return True

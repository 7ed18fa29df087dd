"""The base of REST taps: settings, the client, and the order in which streams are read."""

from __future__ import annotations

import time
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from icetap.errors import ConfigurationError, IcetapError, about_stream
from icetap.left_out import LeftOut
from icetap.records.tap import RecordTap
from icetap.rest.auth import NoAuth
from icetap.rest.cache import AnswerCache
from icetap.rest.client import Client, ClientOptions
from icetap.rest.copies import declared_copies, declared_part
from icetap.rest.failures import NoAccessError, PassingFaultError, is_of_one_stream
from icetap.rest.incremental import Window
from icetap.rest.output import RecordOutput
from icetap.rest.parts import Part
from icetap.rest.rules import ErrorRule, RetryPolicy
from icetap.rest.sampling import sampled_from
from icetap.rest.stream import RestStream
from icetap.settings import did_you_mean
from icetap.stream_options import StreamOptions
from icetap.tap import ON_REJECTED_SETTING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from singer_sdk.streams import Stream

    from icetap.records.masks.copies import Copies, PartOf
    from icetap.rest.auth import Auth
    from icetap.rest.limits import Rate

PROGRESS_SECONDS = 15.0

STREAM_OPTIONS: dict[str, dict[str, Any]] = {
    "stream_name": {
        "type": "string",
        "minLength": 1,
        "title": "Stream name",
        "description": "The stream's name, instead of the API's.",
    },
    "key_properties": {
        "type": "array",
        "items": {"type": "string"},
        "title": "Key",
        "description": "The fields that identify a record, instead of the declared ones.",
    },
    "rename": {
        "type": "object",
        "additionalProperties": {"type": "string", "minLength": 1},
        "title": "Field names",
        "description": "New names of fields: {from: to}.",
    },
    "replication_method": {
        "type": "string",
        "enum": ["FULL_TABLE", "INCREMENTAL"],
        "title": "Replication method",
        "description": "FULL_TABLE reads everything each time, INCREMENTAL what came since.",
    },
    "lookback_seconds": {
        "type": "integer",
        "minimum": 0,
        "title": "Lookback",
        "description": "How far before the bookmark a run reads again, in seconds.",
    },
    "schema_policy": {
        "type": "string",
        "enum": ["evolve", "freeze", "discard"],
        "title": "New fields",
        "description": "What happens to a field that the schema does not have.",
    },
}
"""What may be set for single streams."""

REST_SETTINGS: dict[str, dict[str, Any]] = {
    "start_date": {
        "type": ["string", "null"],
        "format": "date-time",
        "title": "Start date",
        "description": "The oldest data to read in a first run (RFC 3339). Empty: everything.",
        "examples": ["2026-01-01T00:00:00Z"],
    },
    "lookback_seconds": {
        "type": ["integer", "null"],
        "minimum": 0,
        "title": "Lookback",
        "description": "How far before the bookmark a run reads again, in seconds, for records that come late. Empty: "
        "what each stream declares.",
    },
    "max_parallel": {
        "type": "integer",
        "minimum": 1,
        "maximum": 32,
        "default": 1,
        "title": "Parallel requests",
        "description": "How many requests are under way at once; records keep their order.",
    },
    "timeout_seconds": {
        "type": "integer",
        "minimum": 1,
        "maximum": 3600,
        "default": 60,
        "title": "Time-out",
        "description": "How long to wait for a connection, or for the next byte of an answer.",
    },
    "max_retries": {
        "type": "integer",
        "minimum": 0,
        "maximum": 100,
        "default": 5,
        "title": "Retries",
        "description": "How often a request is repeated after a passing fault (429, 5xx, a broken connection), with growing "
        "waits.",
    },
    "max_wait_seconds": {
        "type": "integer",
        "minimum": 0,
        "default": 600,
        "title": "Longest wait",
        "description": "When the server asks for a longer wait than this, the run ends; the next one goes on from there.",
    },
    "schema_policy": {
        "type": "string",
        "enum": ["evolve", "freeze", "discard"],
        "default": "evolve",
        "title": "New fields",
        "description": "What happens to a field that the schema does not have: `evolve` adds a column, `freeze` ends the run, "
        "`discard` leaves the field out, counted.",
    },
    "on_no_access": {
        "type": "string",
        "enum": ["fail", "skip"],
        "default": "fail",
        "title": "Streams without access",
        "description": "What happens when these credentials may not read a stream: `fail` reads the others, then fails and "
        "names it, `skip` leaves the stream out with a warning.",
    },
    "on_rejected": ON_REJECTED_SETTING,
    "streams": {
        "type": ["object", "null"],
        "additionalProperties": {"type": "object", "properties": STREAM_OPTIONS},
        "title": "Options of streams",
        "description": "By the stream's name or a glob. A name beats a glob, a later glob beats an earlier one.",
        "examples": [{"orders": {"lookback_seconds": 3600}, "*_log": {"replication_method": "FULL_TABLE"}}],
    },
}
"""The settings that every REST tap has."""


class RestTap(RecordTap):
    """Base of REST taps. A subclass says where the API is, how to sign in, and which streams there are."""

    base_url: str = ""
    """Where the API is, when that is no setting."""

    stream_types: Sequence[type[RestStream]] = ()
    errors: Sequence[ErrorRule] = ()
    """What certain answers mean to all streams."""

    error_text: str | None = None
    """A JSONPath to the API's own words for an error; they are told, redacted. Nothing else of a body ever is."""

    rates: Sequence[Rate] = ()
    """The API's limits: all of them are kept."""

    wait_headers: Sequence[str] = ()
    allowed_hosts: tuple[str, ...] = ()
    """More hosts that may see the credentials."""

    block_private: bool = False

    def __init__(self, **kwargs: Any) -> None:
        self._told_at = time.monotonic()
        self._only: str | None = None
        self._left_out = LeftOut()
        self._faulty: set[str] = set()
        super().__init__(**kwargs)

    # --- what a subclass says -----------------------------------------------------------------------

    def url(self) -> str:
        """Return the base URL; override it where it depends on settings."""
        return self.base_url

    def make_auth(self) -> Auth:
        """Return how requests are signed."""
        return NoAuth()

    def make_client(self) -> Client:
        """Return the client of all streams."""
        return Client(
            self.url(),
            auth=self.make_auth(),
            options=self.client_options(),
            logger=self.logger,
            check=self.check_interrupted,
        )

    def client_options(self) -> ClientOptions:
        """Return how the client behaves, from the settings and the class's declarations."""
        config = self.config
        secrets = [
            name
            for name, schema in self.config_jsonschema["properties"].items()
            if schema.get("secret") and config.get(name)
        ]
        return ClientOptions(
            user_agent=f"{self.name}/{self.plugin_version}",
            timeout_seconds=config["timeout_seconds"],
            max_parallel=config["max_parallel"],
            retry=RetryPolicy(
                max_retries=config["max_retries"],
                max_wait=config["max_wait_seconds"],
                wait_headers=self.wait_headers,
            ),
            rates=self.rates,
            rules=self.errors,
            error_text=self.error_text,
            credential_settings=secrets,
            allowed_hosts=self.allowed_hosts,
            block_private=self.block_private,
        )

    def declared_streams(self) -> Sequence[RestStream]:
        """Return all streams; override it where they depend on settings."""
        return [declared(self) for declared in self.stream_types]

    @cached_property
    def stream_options(self) -> StreamOptions:
        """The setting `streams`."""
        return StreamOptions(self.config, known=STREAM_OPTIONS)

    # --- streams ------------------------------------------------------------------------------------

    @cached_property
    def client(self) -> Client:
        """The client of all streams."""
        return self.make_client()

    @override
    def discover_streams(self) -> Sequence[Stream]:
        """Return the streams as declared, children known to their parents.

        Raises:
            ConfigurationError: When a parent is missing, or is its own descendant.
        """
        streams = self._wanted(self.declared_streams())
        by_name = {stream.declared_name: stream for stream in streams}
        if self._only is None:
            self.stream_options.refuse_unmatched(list(by_name), logger=self.logger)
        self._parents: dict[str, RestStream] = {}
        for stream in streams:
            if stream.parent is None:
                continue
            if stream.parent not in by_name:
                raise ConfigurationError(
                    f"stream '{stream.name}' has the parent '{stream.parent}', which is no stream"
                    f"{did_you_mean(stream.parent, by_name) or '.'}"
                )
            self._parents[stream.declared_name] = by_name[stream.parent]
            by_name[stream.parent].child_streams.append(stream)
        for stream in streams:
            self._refuse_circles(stream)
        return streams

    def keep_only(self, name: str) -> None:
        """Know this stream and its ancestors only, so that a preview samples no others."""
        self._only = name

    def _wanted(self, streams: Sequence[RestStream]) -> Sequence[RestStream]:
        by_name = {stream.declared_name: stream for stream in streams}
        if self._only not in by_name:
            return streams
        wanted: list[RestStream] = []
        name: str | None = self._only
        while name in by_name and by_name[name] not in wanted:
            wanted.append(by_name[name])
            name = by_name[name].parent
        return wanted

    def _refuse_circles(self, stream: RestStream) -> None:
        seen = [stream.declared_name]
        while (parent := self._parents.get(seen[-1])) is not None:
            if parent.declared_name in seen:
                raise ConfigurationError(f"the streams {', '.join(sorted(seen))} are each other's parents")
            seen.append(parent.declared_name)

    def parent_of(self, stream: RestStream) -> RestStream | None:
        """Return the stream's parent, if it has one."""
        return self._parents.get(stream.declared_name)

    @override
    def copies(self, stream: Stream) -> Copies:
        return declared_copies(stream) if isinstance(stream, RestStream) else super().copies(stream)

    @override
    def part_of(self, stream: Stream) -> PartOf | None:
        return declared_part(stream) if isinstance(stream, RestStream) else None

    # --- a run --------------------------------------------------------------------------------------

    @override
    def _run(self) -> None:
        if self.config.get("batch_config"):
            raise ConfigurationError(
                f"setting 'batch_config': {self.name} has no Arrow lane, since the network is its limit. Remove it."
            )
        self._reset_state_progress_markers()
        self._refuse_missing_streams()
        self.write_state()
        self._read_streams()

    def _read_streams(self) -> None:
        roots = [
            stream
            for stream in self.streams.values()
            if isinstance(stream, RestStream)
            and stream.parent is None
            and (stream.selected or stream.has_selected_descendents)
        ]
        try:
            for root in roots:
                self._read(root)
        finally:
            for stream in self.streams.values():
                if isinstance(stream, RestStream):
                    stream.jobs.call_off()
        counts = self.client.counts
        self.logger.info(
            "%d requests, %d of them repeated; waited %.1f s",
            counts["requests"],
            counts["retries"],
            counts["waited_ms"] / 1000,
        )
        self._left_out.refuse(selected=[name for name, stream in self.streams.items() if stream.selected])
        if roots and all(root.is_left_out for root in roots):
            raise NoAccessError(
                "these credentials may read none of the selected streams. Check them, and their scopes."
            )

    def _read(self, root: RestStream) -> None:
        try:
            begin(root)
            root.emit()
            root.finish()
            self._faulty.clear()
        except IcetapError as error:
            self.leave_out(root, error)

    def leave_out(self, stream: RestStream, error: IcetapError) -> None:
        """Go on without a stream that cannot be read, and its children: the run fails at its end, and names them.

        It does not fail for streams that these credentials may not read, with `on_no_access: skip`.

        Raises:
            IcetapError: The error, when it says that no stream can be read.
        """
        self.refuse_if_all_fail(stream, error)
        children = [child for child in stream.children_to_read if child.selected]
        stream.is_left_out = True
        if isinstance(error, NoAccessError) and self.config["on_no_access"] == "skip":
            self.logger.warning("Stream %s is left out: %s", stream.name, error)
            return
        self.logger.error("Stream %s is left out: %s", stream.name, error)
        self._left_out.add(stream.name, error)
        for child in children:
            self._left_out.add(child.name, f"it is read with '{stream.name}'")

    def refuse_if_all_fail(self, stream: RestStream, error: IcetapError) -> None:
        """Raise an error that is not of one stream only.

        A fault that does not pass may be the stream's own or the server's: it is the server's when the next stream meets
        one too.
        """
        if isinstance(error, PassingFaultError):
            self._faulty.add(stream.name)
        is_skipped = isinstance(error, NoAccessError) and self.config["on_no_access"] == "skip"
        if len(self._faulty) > 1 or not (is_skipped or is_of_one_stream(error)):
            raise error

    def tell_progress(self, stream: RestStream) -> None:
        """Log how far a stream has got, every now and then."""
        now = time.monotonic()
        if now - self._told_at >= PROGRESS_SECONDS and stream.output is not None:
            self._told_at = now
            self.logger.info(
                "Stream %s: %d records so far, in %d requests; %d requests repeated, waited %.1f s",
                stream.name,
                stream.output.records,
                stream.requests,
                self.client.counts["retries"],
                self.client.counts["waited_ms"] / 1000,
            )

    # --- what a person asks -------------------------------------------------------------------------

    @property
    def tested_streams(self) -> Sequence[str] | None:
        """The streams that a test asks for; None: every one that is selected."""
        return None

    @override
    def test_findings(self) -> Iterator[tuple[bool, str]]:
        """Ask for one page of each selected stream."""
        for stream in self.streams.values():
            if not isinstance(stream, RestStream) or not stream.selected:
                continue
            if self.tested_streams is not None and stream.name not in self.tested_streams:
                continue
            if stream.job is not None:
                yield True, f"stream {stream.name}: not asked for, since that would begin a job"
                continue
            try:
                count = len(stream.first_page().records)
            except IcetapError as error:
                yield False, about_stream(stream.name, str(error))
            else:
                yield True, f"stream {stream.name}: {'readable' if count else 'readable, and empty now'}"

    @override
    def _records(self, stream: Stream) -> Iterator[dict[str, Any]]:
        """Yield a preview's records: of the first parents, through the path that a run takes."""
        if not isinstance(stream, RestStream):
            return
        found = self.parent_of(stream)
        output = RecordOutput(stream, self.messages)
        contexts: Sequence[Mapping[str, Any]] = [{}] if found is None else (found.first_page().contexts or [])
        for context in islice(contexts, PREVIEWED_PARENTS):
            for partition in stream.partitions_of(context):
                for page in stream.pages_of(Part(Window(sampled_from(stream)), partition, context)):
                    for record in stream.renamed(page.records):
                        yield from output.shown(record)

    def keep_answers(self, seconds: float) -> None:
        """Keep answers for a while, so that a preview which is looked at again asks nobody; none that masks hide."""
        if self.masks.is_given:
            return
        self.client.cache = AnswerCache(seconds, scope=f"{self.url()} {sorted(self.config.items(), key=str)}")


PREVIEWED_PARENTS = 3


def begin(stream: RestStream) -> None:
    """Prepare a stream and its descendants for a run."""
    stream.begin(starting_bookmark(stream))
    for child in stream.children_to_read:
        begin(child)


def starting_bookmark(stream: RestStream) -> dict[str, Any]:
    """Return the bookmark to read a stream from: the earliest that it and those that follow it need.

    Empty, so that everything is read, when a descendant needs every parent, or follows since this run only.
    """
    found = [stream.bookmark()] if stream.selected else []
    waiting = list(stream.children_to_read)
    while waiting:
        child = waiting.pop()
        if not child.follow_parent:
            return {}
        found.append(child.bookmark().get("parent") or {})
        waiting += child.children_to_read
    if len(found) == 1:
        return found[0]
    if not all("replication_key_value" in bookmark for bookmark in found):
        return {}
    return stream.earliest(found)

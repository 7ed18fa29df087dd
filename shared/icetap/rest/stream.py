"""A stream of an API: a declaration, and the one way in which all of them are read."""

from __future__ import annotations

import copy
import threading
import time
from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import IO, TYPE_CHECKING, Any

from singer_sdk import Stream
from singer_sdk.mapper import RemoveRecordTransform
from typing_extensions import override

from icetap.errors import ConfigurationError, IcetapError, about_stream
from icetap.rest.bookmarks import ParentBookmarks, progress_from
from icetap.rest.client import StopPagingSignal
from icetap.rest.declaration import Declaration
from icetap.rest.failures import SkippedPartError
from icetap.rest.incremental import SYNC_TIME, Window
from icetap.rest.jobs import Jobs
from icetap.rest.jsonpath import JSONPath
from icetap.rest.output import RecordOutput
from icetap.rest.paging import refuse_truncation
from icetap.rest.parallel import in_order
from icetap.rest.parts import Part, RecordPage
from icetap.rest.records import all_conversions, converted, refuse_other_place
from icetap.rest.request import Asked, Request
from icetap.rest.restarts import pages
from icetap.rest.sampling import asked_first_page, known_properties
from icetap.rest.templates import render
from icetap.state.bookmarks import is_before

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from singer_sdk.helpers.types import Context, Record

    from icetap.rest.answers import Answer
    from icetap.rest.client import Client
    from icetap.rest.incremental import Progress
    from icetap.rest.tap import RestTap


REMEMBERED_BESIDES = frozenset({"columns", "parent", "jobs"})
"""What a stream's part of the state has besides how far it has been read."""


class RestStream(Declaration, Stream):
    """One stream of an API. A subclass declares it; the methods below are for what cannot be declared.

    What may be declared is told at each attribute of `Declaration`. `records_jsonpath`, `path` and `primary_keys` mean
    what they mean in the Singer SDK; paging, retries, windows, bookmarks and output are the engine's own, so that a
    record costs microseconds and no page is lost.
    """

    def __init__(self, tap: RestTap, name: str | None = None) -> None:
        self.rest_tap = tap
        self.declared_name = name or self.name
        self.options = tap.stream_options.of(self.declared_name)
        self.new_names: dict[str, str] = self.options.get("rename") or {}
        declared = None if self.properties is None else dict(self.properties)
        super().__init__(
            tap,
            schema={"type": "object", "properties": declared or {}},
            name=self.options.get("stream_name") or name,
        )
        keys = self.options.get("key_properties") or self.primary_keys or ()
        self.primary_keys = [self.new_names.get(key, key) for key in keys]
        self.forced_replication_method = self.options.get("replication_method")
        self.is_inferred = declared is None
        self._known_schema: dict[str, Any] | None = None
        self._first_page: RecordPage | None = None
        self.is_without_sample = False
        if self.incremental is not None:
            cursor = self.incremental.replication_key or SYNC_TIME
            self.replication_key = self.new_names.get(cursor, cursor)
        self.records_path = JSONPath(self.records_jsonpath)
        self.context_paths = {key: JSONPath(path) for key, path in self.child_context.items()}
        self._convert = all_conversions(self.convert, self.incremental, self.properties)
        self.output: RecordOutput | None = None
        self.version: int | None = None
        self.is_complete = True
        self.is_left_out = False
        self.skipped: dict[str, int] = {}
        self.jobs = Jobs(self)
        self._lock = threading.Lock()
        self.requests = 0
        self.started_at = 0.0
        self._progress: Progress | None = None
        self._parents: ParentBookmarks | None = None
        self._parent_bookmark: dict[str, Any] | None = None
        self._last_bookmark: dict[str, Any] = {}

    @property
    def label(self) -> str:
        """What messages call this stream."""
        return f"stream '{self.name}'"

    # --- what a subclass may change -----------------------------------------------------------------

    def read(self, contexts: Iterable[Mapping[str, Any]]) -> Iterator[RecordPage]:
        """Yield the records of some parents (one empty context without a parent), with bookmarks where it can go on.

        Override it for a source that is read in a way of its own, such as a feed of events or an export. Bookmarks may
        be any object then (`self.bookmark()` is the last run's). A stream that is no complete read of its source sets
        `self.version = None` first: then nothing is taken for deleted because it did not come.
        """
        if self._parents is not None:
            yield from self._parents.pages(contexts)
            return
        windows = list(self.progress.windows()) if self.progress else [Window()]
        contexts = list(contexts)
        workers = self.client.options.max_parallel
        for window in windows:
            parts = [
                Part(window, partition, parent)
                for parent in contexts
                for partition in self.partitions_of(parent)
            ]
            is_alone = self.parent is None and len(parts) == 1
            for page in in_order((partial(self.pages_of, part) for part in parts), workers=workers):
                progress = self.progress
                bookmark = progress.after(page.records, is_alone=is_alone) if progress else None
                yield replace(page, bookmark=bookmark)
            if self.progress and self.parent is None:
                self.progress.complete(window)
                yield RecordPage([], self.progress.bookmark())

    def pages_of(self, part: Part) -> Iterator[RecordPage]:
        """Yield the records of one part, page by page, as they are emitted."""
        try:
            yield from pages(self, part)
        except SkippedPartError as error:
            with self._lock:
                self.skipped[error.reason] = self.skipped.get(error.reason, 0) + 1
            self.is_complete = False
            if self._parents is not None:
                self._parents.skip(part)
        except StopPagingSignal:
            return
        except IcetapError as error:
            error.args = (about_stream(self.name, str(error), label=self.label),)
            raise

    def request_for(self, part: Part) -> Request:
        """Return the request for a part's first page, without its position."""
        declared = Asked(
            path=self.path, method=self.method, params=self.params, headers=self.headers, body=self.body
        )
        request = self.asked(declared, part)
        if self.incremental is not None:
            part.window.put(request, self.incremental)
        return request

    def asked(self, declared: Asked, part: Part) -> Request:
        """Return a declared request with its templates filled in."""
        return declared.request(self.scope(part), part.names, where=self.label)

    def records_in(self, answer: Answer, part: Part) -> RecordPage:
        """Return the records of an answer as they are emitted."""
        return self.records_of(self.values_in(answer), part, document=answer.document)

    def records_of(self, values: Iterable[Any], part: Part, *, document: Any = None) -> RecordPage:
        """Return values that an answer has as records as they are emitted.

        Args:
            values: What `records_jsonpath` leads to.
            part: What they were asked for.
            document: The answer, for templates with `{response.…}`; None where it is too large to be held.
        """
        records: list[dict[str, Any]] = []
        contexts: list[Mapping[str, Any]] = []
        scope = {**self.scope(part), "response": document} if self.rules.is_given else {}
        for value in values:
            found = value if type(value) is dict else {"value": value}
            record = self._emitted(found, part, scope)
            if record is not None:
                records.append(record)
                if self.child_streams and (context := self.contexts_of(found)) is not None:
                    contexts.append({**part.parent, **context})
        return RecordPage(records, contexts=contexts)

    def values_in(self, answer: Answer) -> list[Any]:
        """Return what `records_jsonpath` leads to.

        Raises:
            UnreadableStreamError: When it leads nowhere, and the answer has records somewhere else.
        """
        values = self.records_path.records(answer.document)
        if len(values) < 2:
            is_plain = not self.rules.is_given and not self.new_names and self.parent is None
            keys = self.primary_keys if is_plain else ()
            refuse_other_place(self.records_path, answer.document, values, keys=keys or ())
        return values

    def _emitted(self, found: Record, part: Part, scope: Mapping[str, Any]) -> Record | None:
        record = {**part.parent, **found} if part.parent else found
        if self._convert:
            record = converted(record, self._convert, where=self.label)
        if self.rules.is_given:
            if not self.rules.keeps(record):
                return None
            record = self.rules.applied(record, scope)
        if self.progress is not None and self.progress.key == SYNC_TIME:
            record = {**record, SYNC_TIME: self.progress.sync_time}
        return self.post_process(record, part.names)

    @override
    def post_process(self, row: Record, context: Context | None = None) -> Record | None:
        # Return a new record, or None to leave it out; never change the one given.
        return row

    def contexts_of(self, record: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Return what children may use of a record, or None to read no children of it."""
        return {key: path.first(record) for key, path in self.context_paths.items()}

    def partitions_of(self, parent: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the partitions of a parent's records; `[{}]` when there are none."""
        found: list[dict[str, Any]] = [{}]
        for name, given in self.partition_by.items():
            values = render(given, {"config": self.config, "parent": parent})
            if not isinstance(values, list):
                raise ConfigurationError(
                    f"{self.label}: the partitions of '{name}' are no list. Give the setting that they come from."
                )
            found = [{**one, name: value} for one in found for value in values]
        return found

    def scope(self, part: Part) -> dict[str, Any]:
        """Return the values of template roots."""
        return {
            "config": self.config,
            "parent": part.parent,
            "partition": part.partition,
            "cursor": part.window.scope(),
            "job": part.job,
        }

    @override
    def get_records(self, context: Context | None) -> Iterable[Record]:
        # Only the SDK's connection test comes here: a run reads by pages, and the children of whole pages.
        if not self.started_at:
            self.begin({})
        parent = self.parent_stream
        for page in self.read([{}] if parent is None else parent.first_page().contexts or []):
            yield from page.records

    @override
    def generate_child_contexts(self, record: Record, context: Context | None) -> Iterable[Context | None]:
        return ()

    # --- walking ------------------------------------------------------------------------------------

    @property
    def client(self) -> Client:
        """The client that this stream asks."""
        return self.rest_tap.client

    def ask(self, request: Request) -> Answer:
        """Ask, by this stream's rules and in its format."""
        with self._lock:
            self.requests += 1
        answer = self.client.send(request, rules=self.errors, answer_format=self.format)
        if self.progress is not None:
            self.progress.not_later_than(answer.date)
        return answer

    def save(self, request: Request) -> IO[bytes]:
        """Ask for a body of any size, by this stream's rules; return it as a file."""

        def told(answer: Answer) -> None:
            if self.paging is None:
                refuse_truncation(answer, ())
            if self.progress is not None:
                self.progress.not_later_than(answer.date)

        with self._lock:
            self.requests += 1
        return self.client.download(request, rules=self.errors, answer_format=self.format, told=told)

    # --- bookmarks ----------------------------------------------------------------------------------

    @property
    def progress(self) -> Progress | None:
        """How far an incremental read has got; None in a full read."""
        return self._progress

    def bookmark(self) -> dict[str, Any]:
        """Return this stream's part of the state that the run was given."""
        return dict(self.tap_state.get("bookmarks", {}).get(self.name) or {})

    def earliest(self, bookmarks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return the bookmark from which on a read misses nothing that any of these lacks; each of them has a value."""
        first = bookmarks[0]
        for each in bookmarks[1:]:
            if is_before(each["replication_key_value"], first["replication_key_value"]):
                first = each
        return dict(first)

    def set_bookmark(self, bookmark: Mapping[str, Any]) -> bool:
        """Let the next STATE have this bookmark, with what the stream remembers besides; say whether that is new."""
        kept = dict(bookmark)
        added = {**self.bookmark().get("columns", {}), **(self.output.added if self.output else {})}
        if added and self.is_inferred:
            kept["columns"] = added
        if self.follow_parent and (parent := self._parent_bookmark or self.bookmark().get("parent")):
            kept["parent"] = parent
        if jobs := self.jobs.notes():
            kept["jobs"] = jobs
        bookmarks = self.tap_state.setdefault("bookmarks", {})
        if bookmarks.get(self.name) == kept:
            return False
        bookmarks[self.name] = copy.deepcopy(kept)
        return True

    def begin(self, start: Mapping[str, Any]) -> None:
        """Prepare a run: where it starts, and under which version a full read is sent.

        Args:
            start: The bookmark to start from; an empty one when everything has to be read.
        """
        self.started_at = time.monotonic()
        self.requests = 0
        self.jobs.begin(self.bookmark().get("jobs") or {})
        self._known_schema = (
            None  # the state, which remembers columns, was not there when it was first asked for
        )
        if self.selected:
            self.output = RecordOutput(self, self.rest_tap.messages)
        if self.incremental is not None and self.replication_method == "INCREMENTAL":
            self._progress = progress_from(self, self.incremental, start)
            if self.bookmark_by_parent:
                self._parents = ParentBookmarks(self, self.incremental, start)
        elif not self.follow_parent:
            version = self.bookmark().get("version")
            known = int(version) if isinstance(version, int | float | Decimal) else 0
            self.version = max(time.time_ns() // 1_000_000, known + 1)

    def cursor_formats(self) -> Sequence[str]:
        """Return how emitted records hold the replication key."""
        if self.incremental is None or self.incremental.replication_key in {None, *self._convert}:
            return ("iso8601",)
        return self.incremental.record_format

    # --- schema -------------------------------------------------------------------------------------

    @property
    @override
    def schema(self) -> dict[str, Any]:
        """The columns: declared, or of the catalog, or of a sample, and what earlier runs have added."""
        if self._known_schema is None:
            self._known_schema = {"type": "object", "properties": known_properties(self)}
        return self._known_schema

    @property
    @override
    def effective_schema(self) -> dict[str, Any]:
        """What is emitted: what the catalog has, as long as nothing was added to it."""
        if self._input_schema is None or self.is_inferred:
            return self.schema
        return self._input_schema

    def first_page(self) -> RecordPage:
        """Return the first page of the first partition, of the first parents that have any; asked for once."""
        if self._first_page is None:
            self._first_page = asked_first_page(self)
        return self._first_page

    @property
    def parent_stream(self) -> RestStream | None:
        """The stream whose records this one is asked for."""
        return self.rest_tap.parent_of(self)

    @property
    def input_properties(self) -> dict[str, Any] | None:
        """The columns that the catalog has, if there is one."""
        return None if self._input_schema is None else dict(self._input_schema.get("properties", {}))

    # --- output -------------------------------------------------------------------------------------

    def emit(self, contexts: Iterable[Mapping[str, Any]] = ({},)) -> None:
        """Read and write the records of some parents, and of their children after each page."""
        if self.output is not None and not self.is_inferred:
            self.output.announce()
        for page in self.read(contexts):
            self.rest_tap.check_interrupted()
            if self.output is not None and page.records:
                self.output.write(self.renamed(page.records), version=self.version)
                self.rest_tap.tell_progress(self)
            self._emit_children(page)
            if page.bookmark and (self.parent is None or self._parents is not None):
                self._keep(page.bookmark)
            elif page.is_news and self.selected and self.set_bookmark(self._last_bookmark or self._found()):
                self.rest_tap.write_state()

    def renamed(self, records: list[Record]) -> list[Record]:
        """Return records with the names that the setting `streams` gives to their fields."""
        if not self.new_names:
            return records
        return [
            {self.new_names.get(name, name): value for name, value in record.items()} for record in records
        ]

    def _keep(self, bookmark: Mapping[str, Any]) -> None:
        """Write a STATE with this bookmark, of which children that follow this stream take note."""
        self._last_bookmark = dict(bookmark)
        is_new = self.set_bookmark(bookmark) if self.selected else False
        for child in self.children_to_read:
            is_new = child.note_parent(bookmark) or is_new
        if is_new:
            self.rest_tap.write_state()

    def _emit_children(self, page: RecordPage) -> None:
        children = self.children_to_read
        if not children:
            return
        contexts = page.contexts
        if contexts is None:
            contexts = [
                context for record in page.records if (context := self.contexts_of(record)) is not None
            ]
        for child in children if contexts else ():
            try:
                child.emit(contexts)
            except IcetapError as error:
                self.rest_tap.leave_out(child, error)

    def note_parent(self, bookmark: Mapping[str, Any]) -> bool:
        """Take note of how far the parent has been read; say whether the state is new."""
        is_new = False
        if self.follow_parent:
            self._parent_bookmark = dict(bookmark)
            is_new = self.set_bookmark(self._found())
        for child in self.children_to_read:
            is_new = child.note_parent(bookmark) or is_new
        return is_new

    def _found(self) -> dict[str, Any]:
        """Return where the run began, without what `set_bookmark` adds."""
        return {name: value for name, value in self.bookmark().items() if name not in REMEMBERED_BESIDES}

    @property
    def children_to_read(self) -> list[RestStream]:
        """Children that are selected, or have descendants that are."""
        return [
            child
            for child in self.child_streams
            if isinstance(child, RestStream)
            and not child.is_left_out
            and (child.selected or child.has_selected_descendents)
        ]

    def finish(self) -> None:
        """Mark the end of a complete full read, write the last bookmark, report."""
        if self.output is not None:
            self.output.announce()
            last = self._last_bookmark or (self.progress.bookmark() if self.progress else {})
            if self._parents is not None:
                last = self._parents.bookmark(is_end=True)
            if self.progress is None and self.version is not None:
                last = {**last, "version": self.version}
                if self.is_complete:
                    for _ in range(1 if self.output.records else 2):
                        self._write_activate_version_message(self.version)
            if self.set_bookmark(last):
                self.rest_tap.write_state()
            self.output.report(self)
        for child in self.children_to_read:
            child.finish()

    @override
    def _write_activate_version_message(self, full_table_version: int) -> None:
        for stream_map in self.stream_maps:
            if not isinstance(stream_map, RemoveRecordTransform):
                self.rest_tap.messages.write_message(
                    {
                        "type": "ACTIVATE_VERSION",
                        "stream": stream_map.stream_alias,
                        "version": full_table_version,
                    }
                )

    def use_schema(self, schema: Mapping[str, Any]) -> Sequence[Any]:
        """Return the stream maps for a schema, which is what its SCHEMA messages come from."""
        self._tap.mapper.register_raw_stream_schema(self.name, dict(schema), list(self.primary_keys or ()))
        self._stream_maps = None
        return self.stream_maps

    def mapped_schema_messages(self, maps: Sequence[Any]) -> Iterator[Any]:
        """Yield the SCHEMA messages of mapped streams."""
        self._stream_maps = list(maps)
        yield from self._generate_schema_messages()

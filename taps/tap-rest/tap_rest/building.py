"""How a definition's streams become streams of the engine."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar

from typing_extensions import override

from icetap.errors import ConfigurationError
from icetap.rest import (
    Asked,
    CursorPaging,
    ErrorRule,
    Filter,
    Format,
    Incremental,
    Job,
    LinkPaging,
    Match,
    Next,
    NoPaging,
    OffsetPaging,
    PagePaging,
    Paging,
    Part,
    Place,
    Rate,
    RecordRules,
    Request,
    RestStream,
    Size,
)
from tap_rest.durations import duration
from tap_rest.signing import asked, make_auth

if TYPE_CHECKING:
    from collections.abc import Mapping

    from icetap.rest import Auth
    from icetap.rest.tap import RestTap
    from tap_rest.definition import Definition

_SIGNALS = ("has_more", "total", "total_pages", "stop_on_short_page", "max_pages")


class DefinedStream(RestStream):
    """A stream of a definition."""

    defined_at: ClassVar[str] = ""
    """File and line, for messages."""

    own_auth: ClassVar[Any] = None
    """How this stream's requests are signed, when otherwise than the others'."""

    def __init__(self, tap: RestTap, name: str | None = None) -> None:
        super().__init__(tap, name)
        self._auth: Auth | None = None
        if self.own_auth is not None:
            self._auth = make_auth(self.own_auth, self.config, where=self.defined_at)

    @property
    @override
    def label(self) -> str:
        return f"{self.defined_at}: stream '{self.name}'"

    @override
    def asked(self, declared: Asked, part: Part) -> Request:
        request = super().asked(declared, part)
        request.auth = self._auth
        return request


def stream_types(definition: Definition) -> list[type[DefinedStream]]:
    """Return one class for each stream of a definition.

    Raises:
        ConfigurationError: When a schema's file cannot be read.
    """
    return [_stream_type(definition, name, stream) for name, stream in definition.streams.items()]


def _stream_type(definition: Definition, name: str, stream: Mapping[str, Any]) -> type[DefinedStream]:
    declared_job = stream.get("job")
    request = asked(declared_job["create"] if declared_job else stream.get("request") or {})
    response = stream.get("response") or {}
    attributes = {
        "__doc__": stream.get("description") or stream.get("title") or f"The stream {name}.",
        "name": name,
        "defined_at": definition.where(name),
        "own_auth": stream.get("auth"),
        "path": request.path,
        "method": request.method,
        "params": request.params,
        "headers": request.headers,
        "body": request.body,
        "primary_keys": tuple(_listed(stream.get("primary_key"))),
        "format": Format(
            response.get("format", "json"),
            encoding=response.get("encoding"),
            compression=response.get("compression", "none"),
            delimiter=response.get("delimiter", ","),
            stream=response.get("stream", is_saved(stream)),
        ),
        "job": job(declared_job),
        "records_jsonpath": response.get("records", "$"),
        "paging": paging(stream.get("pagination")),
        "incremental": incremental(stream.get("incremental")),
        "parent": stream.get("parent_stream"),
        "child_context": stream.get("child_context") or {},
        "follow_parent": stream.get("follow_parent", False),
        "bookmark_by_parent": stream.get("state") == "per_parent",
        "partition_by": stream.get("partitions") or {},
        "properties": properties(definition, name, stream.get("schema")),
        "schema_policy": stream.get("schema_policy"),
        "rules": record_rules(stream.get("record") or {}),
        "errors": error_rules(stream.get("errors")),
        "selected_by_default": stream.get("selected", True),
    }
    return type(f"{name.title().replace('_', '')}Stream", (DefinedStream,), attributes)


def is_saved(stream: Mapping[str, Any]) -> bool:
    """Whether answers are saved and read record by record although the definition does not say so: results of jobs are."""
    return "job" in stream and (stream.get("pagination") or {}).get("type", "none") == "none"


def job(declared: Mapping[str, Any] | None) -> Job | None:
    """Return how a job is waited for, and where its result is."""
    if declared is None:
        return None
    download, status = declared["download"], declared["status"]
    times = {
        f"{name}_seconds": duration(declared[name]).total_seconds()
        for name in ("every", "timeout")
        if name in declared
    }
    return Job(
        id=declared.get("id"),
        poll=asked(declared["poll"]),
        status=status["path"],
        done=status["done"],
        failed=status.get("failed") or (),
        urls=download.get("url"),
        download=asked(download["request"]) if "request" in download else None,
        abort=asked(declared["abort"]) if "abort" in declared else None,
        **times,
    )


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def properties(definition: Definition, name: str, declared: Any) -> dict[str, Any] | None:
    """Return the columns that a stream declares, None when they are inferred.

    Raises:
        ConfigurationError: When the file that it names is no JSON Schema of an object.
    """
    if declared is None or declared == "infer":
        return None
    if "file" in declared:
        path = definition.document.folder / declared["file"]
        try:
            declared = json.loads(path.read_text("utf-8"))
            return dict(declared["properties"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigurationError(
                f"{definition.where(name, 'schema')}: {path} is no JSON Schema with properties, or is missing. "
                "`tap-rest infer` writes one from a sample."
            ) from error
    return dict(declared["properties"])


def _place(declared: Mapping[str, Any]) -> Place:
    return Place(declared["in"], declared["name"])


def paging(declared: Mapping[str, Any] | None) -> Paging | None:
    """Return the way through the pages."""
    if declared is None:
        return None
    common: dict[str, Any] = {key: declared[key] for key in _SIGNALS if key in declared}
    size = declared.get("size") or declared.get("limit")
    if size:
        common["size"] = Size(_place(size), size["value"])
    following = declared.get("next")
    match declared["type"]:
        case "page":
            page = declared["page"]
            return PagePaging(page=_place(page), start=page.get("start", 1), **common)
        case "offset":
            offset = declared["offset"]
            return OffsetPaging(
                offset=_place(offset),
                start=offset.get("start", 0),
                next=_next(following) if following else None,
                step=declared.get("step", "records"),
                **common,
            )
        case "cursor":
            return CursorPaging(token=_place(declared["token"]), next=_next(following), **common)
        case "link":
            return LinkPaging(next=_next(following) if following else None, **common)
    return NoPaging()


def _next(declared: Any) -> Next:
    return Next(path=declared) if isinstance(declared, str) else Next(**declared)


def incremental(declared: Mapping[str, Any] | None) -> Incremental | None:
    """Return how a stream is asked for what changed."""
    if declared is None:
        return None
    found: dict[str, Any] = {
        key: declared[key] for key in ("replication_key", "initial", "order", "filter") if key in declared
    }
    if "record_format" in declared:
        found["record_format"] = tuple(_listed(declared["record_format"]))
    for bound in ("start", "end"):
        if bound in declared:
            found[bound] = _place(declared[bound])
            found[f"{bound}_format"] = declared[bound].get("format", "iso8601")
    if "lookback" in declared:
        found["lookback_seconds"] = int(duration(declared["lookback"]).total_seconds())
    if "window" in declared:
        found["window"] = duration(declared["window"])
    return Incremental(**found)


def record_rules(declared: Mapping[str, Any]) -> RecordRules:
    """Return what happens to records."""
    filters = [
        Filter(field=one["field"], among=one.get("in"), not_among=one.get("not_in"), exists=one.get("exists"))
        for one in declared.get("filter") or ()
    ]
    return RecordRules(
        filter=filters,
        add=declared.get("add") or {},
        rename=declared.get("rename") or {},
        drop=declared.get("drop") or (),
    )


def error_rules(declared: Any) -> list[ErrorRule]:
    """Return what certain answers mean."""
    return [ErrorRule(_match(one["when"]), one["action"], one.get("message")) for one in declared or ()]


def _match(declared: Mapping[str, Any]) -> Match:
    body, header = declared.get("body") or {}, declared.get("header") or {}
    given: dict[str, Any] = {}
    if "equals" in body:
        given["equals"] = body["equals"]
    return Match(
        status=declared.get("status") or (),
        path=body.get("path"),
        among=body.get("in") or (),
        exists=body.get("exists"),
        contains=declared.get("body_contains"),
        header=header.get("name"),
        header_equals=header.get("equals"),
        **given,
    )


def rates(declared: Any) -> list[Rate]:
    """Return the rates to keep."""
    return [Rate(one["requests"], duration(one["per"]).total_seconds()) for one in _listed(declared)]

"""What is wrong with a definition although it fits the format: names that lead nowhere, secrets where they are seen."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any

from icetap.errors import ConfigurationError
from icetap.rest import JSONPath
from icetap.rest.bodies import streamed_path
from icetap.rest.templates import ROOTS, Template, misspelt_roots
from icetap.settings import did_you_mean
from tap_rest.building import is_saved, properties
from tap_rest.definition import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tap_rest.definition import Definition
    from tap_rest.documents import Position

_STREAM_ROOTS = frozenset({"config", "parent", "partition", "cursor"})
_RECORD_ROOTS = _STREAM_ROOTS | {"record", "response"}
_JSONPATH_KEYS = frozenset(
    {"records", "has_more", "total", "total_pages", "token", "expires_in", "error_text"}
)
_PATH_NAME = re.compile(r"(?<!\{)\{([a-z][a-z0-9_]*)\}(?!\})")
_LITERAL_SECRET = re.compile(r"[A-Za-z0-9_\-.+/=]{12,}")


def refuse_errors(definition: Definition) -> None:
    """Refuse a definition with errors; what only looks wrong is for `tap-rest lint`.

    Raises:
        ConfigurationError: One line for each error, with file and line.
    """
    lines = [line for is_error, line in lint(definition) if is_error]
    if lines:
        raise ConfigurationError("\n".join(lines))


def lint(definition: Definition) -> list[tuple[bool, str]]:
    """Return whether each finding is an error, and its line `file:line: sentence`, in the order of the file."""
    found = [*_Linter(definition).findings()]
    document = definition.document

    def line(finding: Finding) -> int:
        position = _written(definition, finding.position)
        while position and position not in document.lines:
            position = position[:-1]
        return document.lines.get(position, 0)

    unique = {(finding.is_error, line(finding), finding.text): finding for finding in found}
    return [
        (is_error, f"{document.where(_written(definition, finding.position))}: {text}")
        for (is_error, _, text), finding in sorted(unique.items(), key=lambda item: item[0][1])
    ]


def _written(definition: Definition, position: Position) -> Position:
    """Return where something stands in the file: in the stream itself, or among the defaults."""
    lines = definition.document.lines
    if len(position) > 2 and position[0] == "streams" and position not in lines:
        shared = ("defaults", *position[2:])
        if shared in lines:
            return shared
    return position


class _Linter:
    def __init__(self, definition: Definition) -> None:
        self._definition = definition
        self._data = definition.data
        self._parameters = definition.parameters
        self._secrets = {name for name, one in self._parameters.items() if one.get("secret")}

    def findings(self) -> Iterator[Finding]:
        yield from self._base_url()
        yield from self._auth(("auth",), self._data.get("auth"))
        for name in self._data.get("check") or ():
            if name not in self._definition.streams:
                hint = did_you_mean(name, self._definition.streams) or "."
                yield Finding(("check",), f"check names the stream '{name}', which does not exist{hint}")
        for name, stream in self._definition.streams.items():
            yield from self._stream(name, stream)

    # --- the whole --------------------------------------------------------------------------------

    def _base_url(self) -> Iterator[Finding]:
        url, position = self._data["base_url"], ("base_url",)
        yield from self._templates(position, url, frozenset({"config"}))
        yield from self._secrets_in_url(position, url, "the base URL")
        if re.match(r"https?://[^/@]*@", url):
            yield Finding(position, "the base URL holds credentials, which logs and proxies see: use `auth`.")
        elif not re.match(r"https?://", url) and not url.startswith("{config."):
            yield Finding(position, f"the base URL '{url}' is no address of HTTP; expected 'https://…'.")
        elif url.startswith("http://") and self._data.get("auth"):
            yield Finding(
                position, "credentials are sent over plain HTTP, where anyone may read them.", is_error=False
            )

    def _auth(self, position: Position, declared: Any) -> Iterator[Finding]:
        if isinstance(declared, list):
            for index, one in enumerate(declared):
                yield from self._auth((*position, index), one)
            return
        for key, value in (declared or {}).items():
            where = (*position, key)
            if isinstance(value, dict):
                yield from self._auth(where, value)
            elif isinstance(value, str):
                yield from self._jsonpath(where, key, value)
                yield from self._templates(where, value, frozenset({"config", "auth"}))
                is_credential = key in {"value", "token", "password", "client_secret", "refresh_token"}
                is_path = value.startswith("$")
                if is_credential and not is_path and "{" not in value and _LITERAL_SECRET.fullmatch(value):
                    yield Finding(
                        where,
                        f"{key} is a credential written into the file. Make it a parameter with `secret: true`, "
                        "and write '{config.<name>}'.",
                    )
                if is_credential and not is_path:
                    yield from self._not_secret(where, value)

    def _not_secret(self, position: Position, value: str) -> Iterator[Finding]:
        for root, placeholder in Template(value).placeholders:
            name = _first_name(placeholder)
            if root == "config" and name in self._parameters and name not in self._secrets:
                yield Finding(
                    position,
                    f"the parameter '{name}' is a credential: mark it `secret: true`, so that no log shows it.",
                    is_error=False,
                )

    # --- a stream ---------------------------------------------------------------------------------

    def _stream(self, name: str, stream: Mapping[str, Any]) -> Iterator[Finding]:
        top: Position = ("streams", name)
        yield from self._jsonpaths(top, stream)
        yield from self._request(top, name, stream)
        yield from self._job(top, stream)
        yield from self._body(top, stream)
        yield from self._partitions(top, stream)
        yield from self._parent(top, name, stream)
        yield from self._state(top, stream)
        yield from self._columns(top, name, stream)
        if stream.get("auth"):
            yield from self._auth((*top, "auth"), stream["auth"])

    def _request(self, top: Position, name: str, stream: Mapping[str, Any]) -> Iterator[Finding]:
        if not (stream.get("request") or {}).get("path") and "job" not in stream:
            yield Finding(
                top, "the stream has no `request` with a `path`: it asks the base URL itself.", is_error=False
            )
        roots = _STREAM_ROOTS if stream.get("incremental") else _STREAM_ROOTS - {"cursor"}
        known = {*self._inherited(name), *(stream.get("partitions") or {}), *_path_places(stream)}
        for where, request in requests_of(top, stream):
            of_job = {"job"} if "job" in where else set()
            yield from self._one_request(where, request, roots | of_job, known)
        for position, text in _texts((*top, "record", "add"), (stream.get("record") or {}).get("add") or {}):
            yield from self._templates(position, text, _RECORD_ROOTS)
        for position, text in _texts(
            (*top, "incremental", "initial"), (stream.get("incremental") or {}).get("initial")
        ):
            yield from self._templates(position, text, frozenset({"config"}))

    def _body(self, top: Position, stream: Mapping[str, Any]) -> Iterator[Finding]:
        """What cannot go together with a body that is saved as a file and read record by record."""
        response = stream.get("response") or {}
        is_streamed = response.get("stream", is_saved(stream))
        if not is_streamed and response.get("compression") != "zip":
            return
        what = "`stream: true`" if is_streamed else "`compression: zip`"
        if (stream.get("pagination") or {}).get("type", "none") != "none":
            yield Finding(
                (*top, "pagination"),
                f"{what} reads one answer that is saved as a file, which cannot be one of several pages. Take one of "
                "the two away.",
            )
        if response.get("format", "json") in {"json", "application/json"}:
            yield from self._streamed_path((*top, "response", "records"), response.get("records", "$"))
        for position, text in _texts((*top, "record", "add"), (stream.get("record") or {}).get("add") or {}):
            if any(root == "response" for root, _ in Template(text).placeholders):
                yield Finding(
                    position, f"'{{response.…}}' has no value with {what}: the answer is never held whole."
                )

    def _one_request(
        self, where: Position, request: Mapping[str, Any], roots: frozenset[str], known: set[str]
    ) -> Iterator[Finding]:
        for key, value in request.items():
            for position, text in _texts((*where, key), value):
                yield from self._templates(position, text, roots)
                if key in {"path", "params"}:
                    yield from self._secrets_in_url(position, text, f"`{key}`")
                if key != "body":
                    yield from _unknown_roots(position, text, is_error=key == "path")
        if request.get("method", "GET") not in {"GET", "POST"} and where[-1] not in {"create", "abort"}:
            yield Finding(
                (*where, "method"),
                f"method is '{request['method']}', but this request only reads. Expected one of GET, POST.",
            )
        path = request.get("path", "")
        if "?" in path:
            yield Finding(
                (*where, "path"), "the path holds a query string: write its parameters under `params`."
            )
        for missing in [each for each in _PATH_NAME.findall(path) if each not in known]:
            hint = did_you_mean(missing, known) or f". There are: {', '.join(sorted(known)) or 'none'}."
            yield Finding(
                (*where, "path"),
                f"the path needs a value for '{{{missing}}}', which no parent hands down{hint}",
            )

    def _job(self, top: Position, stream: Mapping[str, Any]) -> Iterator[Finding]:
        """What has no value yet, or never, in the requests of a job."""
        job = stream.get("job")
        if job is None:
            return
        if "request" in stream:
            yield Finding(
                (*top, "request"),
                "a stream has a `request` or a `job`: what creates the job is `job.create`.",
            )
        for where, request in requests_of(top, {"job": job}):
            known = ["key"] if where[-1] == "create" else ["key", *(["id"] if "id" in job else [])]
            known += ["response"] if "download" in where else []
            for position, text in _texts(where, request):
                for root, placeholder in Template(text).placeholders:
                    name = _first_name(placeholder)
                    if root == "job" and name not in known:
                        advice = (
                            " Declare `job.id`, the JSONPath to it."
                            if name == "id" and "id" not in job
                            else ""
                        )
                        yield Finding(
                            position,
                            f"'{placeholder}' has no value here; of a job there are: {', '.join(known)}.{advice}",
                        )

    @staticmethod
    def _streamed_path(position: Position, text: str) -> Iterator[Finding]:
        with contextlib.suppress(ConfigurationError):  # what is no path at all is told elsewhere
            path = JSONPath(text)
            try:
                streamed_path(path)
            except ConfigurationError as error:
                yield Finding(position, f"{error}.")

    def _partitions(self, top: Position, stream: Mapping[str, Any]) -> Iterator[Finding]:
        for key, value in (stream.get("partitions") or {}).items():
            for position, text in _texts((*top, "partitions", key), value):
                yield from self._templates(position, text, frozenset({"config", "parent"}))

    def _parent(self, top: Position, name: str, stream: Mapping[str, Any]) -> Iterator[Finding]:
        parent = stream.get("parent_stream")
        where = (*top, "parent_stream")
        if parent is None:
            return
        if parent not in self._definition.streams:
            hint = did_you_mean(parent, self._definition.streams) or "."
            yield Finding(where, f"the parent '{parent}' is no stream{hint}")
        elif name in self._ancestors(name):
            yield Finding(where, f"'{name}' is its own ancestor: parents lead back to it.")
        elif not self._definition.streams[parent].get("child_context"):
            yield Finding(
                where, f"the parent '{parent}' has no `child_context`, so its children know nothing of it."
            )

    def _state(self, top: Position, stream: Mapping[str, Any]) -> Iterator[Finding]:
        if stream.get("state") != "per_parent":
            return
        where = (*top, "state")
        if "incremental" not in stream:
            yield Finding(
                where, "`state: per_parent` is about bookmarks, and only `incremental` streams have some."
            )
        if not stream.get("parent_stream") and not stream.get("partitions"):
            yield Finding(
                where,
                "`state: per_parent` keeps a bookmark for each parent or partition, and the stream has neither.",
            )
        if not stream.get("primary_key"):
            yield Finding(
                where,
                "`state: per_parent` asks for the records at each bookmark again, and without `primary_key` nothing tells "
                "them apart.",
            )

    def _columns(self, top: Position, name: str, stream: Mapping[str, Any]) -> Iterator[Finding]:
        keys = stream.get("primary_key")
        keys = [keys] if isinstance(keys, str) else keys or []
        incremental = stream.get("incremental")
        if incremental and not keys:
            yield Finding(
                (*top, "incremental"),
                "an incremental stream without `primary_key` sends the records at its bookmark again, and nothing tells "
                "them apart.",
                is_error=False,
            )
        try:
            declared = properties(self._definition, name, stream.get("schema"))
        except ConfigurationError as error:
            yield Finding((*top, "schema"), str(error).partition(": ")[2])
            return
        if declared is None:
            return
        added = {*(stream.get("record") or {}).get("add", {}), *self._inherited(name)}
        renamed = set((stream.get("record") or {}).get("rename", {}).values())
        known = {*declared, *added, *renamed}
        cursor = (incremental or {}).get("replication_key")
        wanted: list[tuple[Position, str]] = [(("primary_key",), key) for key in keys]
        wanted += [(("incremental", "replication_key"), cursor)] if cursor else []
        for where, column in wanted:
            if column not in known:
                hint = did_you_mean(column, known) or "."
                yield Finding((*top, *where), f"the schema has no column '{column}'{hint}")

    # --- names ------------------------------------------------------------------------------------

    def _ancestors(self, name: str) -> list[str]:
        found: list[str] = []
        parent = self._definition.streams[name].get("parent_stream")
        while parent in self._definition.streams and parent not in found:
            found.append(parent)
            parent = self._definition.streams[parent].get("parent_stream")
        return found

    def _inherited(self, name: str) -> set[str]:
        streams = self._definition.streams
        return {key for parent in self._ancestors(name) for key in streams[parent].get("child_context") or {}}

    def _templates(self, position: Position, text: str, roots: frozenset[str]) -> Iterator[Finding]:
        for advice in misspelt_roots(text):
            yield Finding(position, advice)
        try:
            placeholders = Template(text).placeholders
        except ConfigurationError as error:
            yield Finding(position, str(error))
            return
        for root, placeholder in placeholders:
            if root not in roots:
                known = ", ".join(each for each in ROOTS if each in roots)
                why = " (the stream has no `incremental`)" if root == "cursor" else ""
                yield Finding(position, f"'{placeholder}' has no value here{why}; there are: {known}.")
            elif root == "config" and _first_name(placeholder) not in {*self._parameters, "start_date"}:
                name = _first_name(placeholder)
                hint = did_you_mean(name, self._parameters)
                is_leaf = position[2:3] == ("request",) and position[3:4] != ("path",)
                is_optional = is_leaf and not hint
                advice = ": what needs it is left out. " if is_optional else ". "
                yield Finding(
                    position,
                    f"'{placeholder}' names no parameter{hint or f'{advice}Declare it under `parameters`.'}",
                    is_error=not is_optional,
                )

    def _secrets_in_url(self, position: Position, text: str, what: str) -> Iterator[Finding]:
        names = re.findall(r"\{config\.(\w+)", text)
        for name in [each for each in names if each in self._secrets]:
            yield Finding(
                position,
                f"{what} holds the secret '{name}', which logs and proxies see. Use `auth`: "
                "{type: api_key, in: header | query, …}.",
            )

    def _jsonpaths(self, position: Position, value: Any) -> Iterator[Finding]:
        if isinstance(value, dict):
            for key, child in value.items():
                is_free = position[2:] in {(), ("request",)} or position[2:3] == ("job",)
                if key in {"schema", "body", "params", "headers"} and is_free:
                    continue
                if isinstance(child, str):
                    inside_context = bool(position) and position[-1] == "child_context"
                    is_path = (
                        key in _JSONPATH_KEYS
                        or inside_context
                        or (key in {"next", "path", "id", "url"} and child.startswith("$"))
                    )
                    if is_path:
                        yield from self._jsonpath((*position, key), "records", child)
                else:
                    yield from self._jsonpaths((*position, key), child)
        elif isinstance(value, list):
            for index, child in enumerate(value):
                yield from self._jsonpaths((*position, index), child)

    @staticmethod
    def _jsonpath(position: Position, key: str, text: str) -> Iterator[Finding]:
        if key in _JSONPATH_KEYS and text.startswith("$"):
            try:
                JSONPath(text)
            except ConfigurationError as error:
                yield Finding(position, str(error))


def requests_of(top: Position, stream: Mapping[str, Any]) -> Iterator[tuple[Position, Mapping[str, Any]]]:
    """Yield every request of a stream, with its place."""
    job = stream.get("job") or {}
    yield (*top, "request"), stream.get("request") or {}
    for key in ("create", "poll", "abort"):
        yield (*top, "job", key), job.get(key) or {}
    yield (*top, "job", "download", "request"), (job.get("download") or {}).get("request") or {}


def _unknown_roots(position: Position, text: str, *, is_error: bool) -> Iterator[Finding]:
    """What looks like a placeholder where nothing else has braces; of roots close to a known one others tell."""
    for match in re.finditer(r"\{([a-z]+)\.[A-Za-z_][\w.]*\}", text):
        if match[1] not in ROOTS and not did_you_mean(match[1], ROOTS):
            yield Finding(
                position,
                f"'{match[0]}' is sent as it stands: there is no root '{match[1]}'. There are: {', '.join(ROOTS)}.",
                is_error=is_error,
            )


def _first_name(placeholder: str) -> str:
    match = re.match(r"\{[a-z]+\.([A-Za-z_][\w-]*)", placeholder)
    return match[1] if match else ""


def _path_places(stream: Mapping[str, Any]) -> list[str]:
    """Names in a path that paging or windows fill in."""
    blocks = [*(stream.get("pagination") or {}).values(), *(stream.get("incremental") or {}).values()]
    return [block["name"] for block in blocks if isinstance(block, dict) and block.get("in") == "path"]


def _texts(position: Position, value: Any) -> Iterator[tuple[Position, str]]:
    if isinstance(value, str):
        yield position, value
    elif isinstance(value, dict):
        for key, child in value.items():
            yield from _texts((*position, key), child)
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from _texts((*position, index), child)

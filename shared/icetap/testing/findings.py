"""What is wrong with a connector, one sentence a finding. Nothing found: nothing wrong."""

from __future__ import annotations

import ast
import base64
import json
import re
import sys
from collections import Counter
from datetime import date, datetime, time
from decimal import Decimal
from importlib import metadata
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus
from uuid import UUID

import jsonschema
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from icetap.testing.subject import Outcome

CREDENTIAL = re.compile(
    r"password|passwd|secret|token|api_?key|private_?key|credential|passphrase", re.IGNORECASE
)
NOT_A_CREDENTIAL = re.compile(r"(_url|_uri|_endpoint|_seconds|_type|_method)$")
DEFAULT_IN_PROSE = re.compile(r"\bdefaults? (?:to|is|value)\b", re.IGNORECASE)
MESSAGE_TYPES = frozenset({"SCHEMA", "RECORD", "STATE", "ACTIVATE_VERSION", "BATCH"})
EXAMPLES = 3
"""Offending rows, streams or lines that one finding names at most."""


def config_findings(settings: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """What a user of these settings would stumble over."""
    for name, setting in settings.items():
        if not setting.get("title"):
            yield f"{name} has no title"
        if not setting.get("description"):
            yield f"{name} has no description"
        if not setting.keys() & {"type", "anyOf", "oneOf", "allOf", "enum", "const"}:
            yield f"{name} has no type"
        if CREDENTIAL.search(name) and not NOT_A_CREDENTIAL.search(name) and not setting.get("secret"):
            yield f"{name} looks like a credential and is not marked secret"
        if DEFAULT_IN_PROSE.search(setting.get("description", "")) and "default" not in setting:
            yield f"{name} tells its default in prose only; the schema has none"
        if {"integer", "number"} & _types(setting) and not setting.keys() & {
            "minimum",
            "exclusiveMinimum",
            "enum",
        }:
            yield f"{name} is a number without a lower bound"
        if "default" in setting:
            yield from _default_findings(name, setting)
        if name != name.lower() or not name.isidentifier():
            yield f"{name} is not in snake_case"


def _types(setting: Mapping[str, Any]) -> set[str]:
    declared = setting.get("type", [])
    return {declared} if isinstance(declared, str) else set(declared)


def _default_findings(name: str, setting: Mapping[str, Any]) -> Iterator[str]:
    try:
        jsonschema.validate(setting["default"], setting)
    except jsonschema.ValidationError:
        yield f"{name} has a default that its own type does not allow"


def catalog_findings(catalog: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the streams of a catalog."""
    ids = Counter(stream["tap_stream_id"] for stream in catalog["streams"])
    yield from (f"stream {name} is in the catalog {count} times" for name, count in ids.items() if count > 1)
    for stream in catalog["streams"]:
        name, properties = stream["tap_stream_id"], stream["schema"].get("properties", {})
        try:
            jsonschema.Draft202012Validator.check_schema(stream["schema"])
        except jsonschema.SchemaError as error:
            yield f"stream {name}: its schema is not valid JSON Schema at {error.json_path}"
        if not properties:
            yield f"stream {name} has no columns"
        for key in stream.get("key_properties") or ():
            if key not in properties:
                yield f"stream {name}: key {key} is not a column"
        if (cursor := stream.get("replication_key")) and cursor not in properties:
            yield f"stream {name}: replication key {cursor} is not a column"


def line_findings(outcome: Outcome) -> Iterator[str]:
    """What on stdout is not a Singer message, or comes in the wrong order."""
    known: set[str] = set()
    strangers = [number for number, line in enumerate(outcome.lines, start=1) if not _is_message(line)]
    for number in strangers[:EXAMPLES]:
        yield f"line {number} of stdout is not a Singer message"
    if outcome.stdout and not outcome.stdout.endswith(b"\n"):
        yield "the last line of stdout is cut"
    for message in outcome.messages:
        kind, stream = message.get("type"), message.get("stream", "")
        if kind == "SCHEMA":
            known.add(stream)
        elif kind in {"RECORD", "BATCH", "ACTIVATE_VERSION"} and stream not in known:
            yield f"a {kind} of stream {stream} comes before its SCHEMA"
            known.add(stream)  # said once


def _is_message(line: str) -> bool:
    try:
        message = json.loads(line)
    except ValueError:
        return False
    return isinstance(message, dict) and message.get("type") in MESSAGE_TYPES


def key_findings(outcome: Outcome) -> Iterator[str]:
    """Records whose key is missing, null, or there twice."""
    for stream, schema in outcome.schemas().items():
        keys = schema.get("key_properties") or ()
        records = outcome.records(stream)
        if not keys or not records:
            continue
        incomplete = sum(any(record.get(key) is None for key in keys) for record in records)
        if incomplete:
            yield f"stream {stream}: {incomplete} of {len(records)} records lack a value of their key {', '.join(keys)}"
        counted = Counter(tuple(str(record.get(key)) for key in keys) for record in records)
        repeated = sum(count > 1 for count in counted.values())
        if repeated:
            yield f"stream {stream}: {repeated} keys ({', '.join(keys)}) are on more than one record"


def record_findings(outcome: Outcome) -> Iterator[str]:
    """Records that do not fit the SCHEMA before them; one finding for each stream and column."""
    seen: set[tuple[str, str]] = set()
    for stream, message in outcome.schemas().items():
        check = _validator(message["schema"])
        declared = set(message["schema"].get("properties", {}))
        for record in outcome.records(stream):
            problems = [
                (error.json_path.removeprefix("$."), f"not of the {error.validator} that its SCHEMA says")
                for error in check.iter_errors(record)
            ]
            problems += [(name, "not a column of its SCHEMA") for name in record.keys() - declared]
            for path, what in problems:
                column = re.split(r"[.\[]", path, maxsplit=1)[0]
                if (stream, column) not in seen:
                    seen.add((stream, column))
                    yield f"stream {stream}: a value of {column} is {what}"


def _validator(schema: Mapping[str, Any]) -> Any:
    """A validator that takes numbers with their digits, and looks at the formats of texts."""
    formats = jsonschema.FormatChecker(formats=())
    parsers = {
        "date-time": datetime.fromisoformat,
        "date": date.fromisoformat,
        "time": time.fromisoformat,
        "uuid": UUID,
    }
    for name, parse in parsers.items():
        formats.checks(name, raises=ValueError)(
            lambda value, parse=parse: value is None or bool(parse(str(value))) or True
        )
    types = jsonschema.Draft202012Validator.TYPE_CHECKER
    types = types.redefine("number", _is_number).redefine("integer", _is_integer)
    extended = jsonschema.validators.extend(  # type: ignore[no-untyped-call]
        jsonschema.Draft202012Validator, type_checker=types
    )
    return extended(schema, format_checker=formats)


def _is_number(_: Any, value: Any) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def _is_integer(_: Any, value: Any) -> bool:
    return _is_number(_, value) and value == int(value)


def leak_findings(outcome: Outcome, canary: str, *, on_stdout: bool) -> Iterator[str]:
    """Where a text that must not be told is told; also in its percent-encoded and base64 forms."""
    forms = {
        "as it is": canary,
        "percent-encoded": quote(canary, safe=""),
        "form-encoded": quote_plus(canary),
        "in base64": base64.b64encode(canary.encode()).decode(),
        "as a JSON text": canary.encode("unicode_escape").decode(),
    }
    places = {"the log": outcome.stderr, **({"stdout": outcome.stdout.decode()} if on_stdout else {})}
    for place, text in places.items():
        told = [form for form, written in forms.items() if written in text]
        if told:
            yield f"{place} holds the canary {told[0]}"


def import_findings(package: Path, dependencies: Sequence[str]) -> Iterator[str]:
    """Modules that a package imports and no declared dependency brings."""
    brought = _modules_brought_by(dependencies) | {package.name} | set(sys.stdlib_module_names)
    for path in sorted(package.rglob("*.py")):
        for line, module in _imports(ast.parse(path.read_text("utf-8"))):
            if module not in brought:
                yield f"{path.relative_to(package.parent)}, line {line} imports {module}, which no declared dependency brings"


def _imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        names: Iterable[str] = ()
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module]
        yield from ((getattr(node, "lineno", 0), name.partition(".")[0]) for name in names)


def _modules_brought_by(dependencies: Sequence[str]) -> set[str]:
    """Top-level modules of the dependencies: of those declared, and of those that `icetap` brings by its extras."""
    wanted = {canonicalize_name(requirement.name) for requirement in _with_icetaps(dependencies)}
    return {
        module
        for module, distributions in metadata.packages_distributions().items()
        if any(canonicalize_name(name) in wanted for name in distributions)
    }


def _with_icetaps(dependencies: Sequence[str]) -> Iterator[Requirement]:
    """The requirements, and those of `icetap` itself with the extras asked for: it is made to be built on."""
    todo = [Requirement(text) for text in dependencies]
    seen: set[tuple[str, str]] = set()
    while todo:
        requirement = todo.pop()
        yield requirement
        if canonicalize_name(requirement.name) != "icetap":
            continue
        for extra in ("", *requirement.extras):
            if ("icetap", extra) in seen:
                continue
            seen.add(("icetap", extra))
            for text in metadata.requires("icetap") or ():
                inner = Requirement(text)
                if inner.marker is None or inner.marker.evaluate({"extra": extra}):
                    todo.append(inner)


def documentation_findings(folder: Path, settings: Mapping[str, Any], *, command: str) -> Iterator[str]:
    """What the README and the `meltano.yml` of the checkout do not say about a connector."""
    readme = folder / "README.md"
    text = readme.read_text("utf-8") if readme.is_file() else ""
    if not text.startswith(f"# {command}\n"):
        yield f"README.md does not begin with the title '# {command}'"
    if "<!-- settings:begin -->\n" not in text or "<!-- settings:end -->" not in text:
        yield "README.md has no markers for its settings (`<!-- settings:begin -->`, `<!-- settings:end -->`)"
    yield from (
        f"README.md does not mention the setting {name}" for name in settings if f"`{name}`" not in text
    )


def meltano_findings(
    meltano: Path, settings: Mapping[str, Mapping[str, Any]], *, command: str
) -> Iterator[str]:
    """What `meltano.yml` does not say about a connector, or says otherwise."""
    content = yaml.safe_load(meltano.read_text("utf-8"))
    plugins = [
        plugin
        for listed in content["plugins"].values()
        for plugin in listed or ()
        if plugin["name"] == command
    ]
    if len(plugins) != 1:
        yield f"meltano.yml has {len(plugins)} plug-ins called {command}"
        return
    declared = {setting["name"]: setting for setting in plugins[0].get("settings", ())}
    for name, setting in settings.items():
        if name not in declared:
            yield f"meltano.yml does not declare the setting {name}"
        elif setting.get("secret") and not declared[name].get("sensitive"):
            yield f"meltano.yml does not mark {name} as sensitive"

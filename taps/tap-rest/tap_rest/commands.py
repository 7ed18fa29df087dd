"""`tap-rest new | lint | resolve | preview | infer | schema | meltano`: what surrounds a definition."""

from __future__ import annotations

import functools
import json
import sys
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import simplejson  # type: ignore[import-untyped]
import yaml
from singer_sdk.exceptions import ConfigValidationError

from icetap.command_line import HintingGroup
from icetap.errors import ConfigurationError, IcetapError
from icetap.rest import JSONPath
from icetap.rest.inference import infer as inferred
from icetap.rest.jsonpath import lists_of_objects
from icetap.secrets import redaction
from icetap.settings import did_you_mean
from tap_rest.definition import Definition, define, format_schema
from tap_rest.documents import read_document
from tap_rest.linting import lint as linted
from tap_rest.scaffold import new_definition
from tap_rest.tap import TapRest, parameter_schema

if TYPE_CHECKING:
    from collections.abc import Callable

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
PREVIEW_CACHE_SECONDS = 600.0


@click.group("tap-rest", cls=HintingGroup)
def COMMANDS() -> None:  # noqa: N802 -- the group is a constant, which click makes of a function
    """Describe a REST API in one YAML file, look at what it gives, and read it."""
    redaction.install()


def _honest(command: Callable[..., None]) -> Callable[..., None]:
    """Turn an expected failure into its lines and its exit code."""

    @functools.wraps(command)
    def run(*arguments: Any, **options: Any) -> None:
        try:
            command(*arguments, **options)
        except IcetapError as error:
            click.echo(redaction.REDACTOR.redact(str(error)), err=True)
            sys.exit(error.exit_code)
        except ConfigValidationError as error:
            for line in error.errors:
                click.echo(redaction.REDACTOR.redact(line), err=True)
            sys.exit(ConfigurationError.exit_code)

    return run


@COMMANDS.command()
@click.argument("name")
@click.option("--folder", type=click.Path(file_okay=False, path_type=Path), default=Path("connectors"))
@_honest
def new(name: str, folder: Path) -> None:
    """Write a connector to start from: connectors/NAME.yaml."""
    click.echo(
        f"Wrote {new_definition(name, folder=folder)}. Change it, then: tap-rest lint, tap-rest preview."
    )


@COMMANDS.command()
@click.argument("files", type=FILE, nargs=-1, required=True)
@_honest
def lint(files: tuple[Path, ...]) -> None:
    """Say what is wrong with connectors, with file and line; exit code 1 for errors."""
    has_errors = False
    for file in files:
        try:
            findings = linted(define(read_document(file)))
        except ConfigurationError as error:
            findings = [(True, line) for line in str(error).splitlines()]
        for is_error, line in findings:
            click.echo(f"{'error  ' if is_error else 'warning'}  {line}")
        has_errors = has_errors or any(is_error for is_error, _ in findings)
        if not findings:
            click.echo(f"ok       {file}")
    sys.exit(1 if has_errors else 0)


@COMMANDS.command()
@click.argument("file", type=FILE)
@_honest
def resolve(file: Path) -> None:
    """Print a connector with its defaults merged into each stream, so that nobody has to guess."""
    definition = define(read_document(file))
    click.echo(
        yaml.safe_dump(dict(definition.data), sort_keys=False, allow_unicode=True, width=110), nl=False
    )


@COMMANDS.command()
@click.argument("file", type=FILE)
@click.option("--stream", help="The stream; the first one when left out.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, help="Records to show.")
@click.option("--config", type=FILE, help="A JSON file with the parameters.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="One parameter.")
@click.option(
    "--cached", is_flag=True, help="Use the answers of the last ten minutes instead of asking again."
)
@_honest
def preview(
    file: Path,
    *,
    stream: str | None,
    limit: int,
    config: Path | None,
    settings: tuple[str, ...],
    cached: bool,
) -> None:
    """Print a stream's first records as JSON, read by the engine that a run uses."""
    tap = TapRest(config={"connector": str(file), **_given(config, settings)}, setup_mapper=False)
    if cached:
        tap.keep_answers(PREVIEW_CACHE_SECONDS)
    known = tap.definition.streams
    name = stream or next(iter(known))
    if name not in known:
        hint = did_you_mean(name, known) or f". There are: {', '.join(known)}."
        raise ConfigurationError(f"{file} has no stream '{name}'{hint}")
    tap.keep_only(name)
    tap.setup_mapper()
    shown = tap.preview(name, sql=None, limit=limit)
    click.echo(simplejson.dumps(shown, ensure_ascii=False, use_decimal=True, default=str, indent=1))


def _given(config: Path | None, settings: tuple[str, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if config is not None:
        try:
            found = json.loads(config.read_text("utf-8"))
        except ValueError as error:
            raise ConfigurationError(f"{config} is not JSON: {error}") from None
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise ConfigurationError(f"--set takes NAME=VALUE, and '{name}' has no '='.")
        try:
            found[name] = json.loads(value) if value[:1] in "[{" else value
        except ValueError as error:
            raise ConfigurationError(f"--set {name}: {error}") from None
    return found


@COMMANDS.command()
@click.argument("sample", type=click.File("rb"))
@click.option("--records", "path", help="Where the records are, as JSONPath; found by itself when left out.")
@_honest
def infer(sample: Any, *, path: str | None) -> None:
    """Print the JSON Schema of a sample: one record, a list of them, or a whole answer ("-" for standard input)."""
    try:
        document = json.loads(sample.read(), parse_float=Decimal)
    except ValueError as error:
        raise ConfigurationError(f"the sample is not JSON: {error}") from None
    found = path or ("$" if isinstance(document, list) else next(iter(lists_of_objects(document)), "$"))
    records = JSONPath(found).records(document)
    if not records or not all(isinstance(record, dict) for record in records):
        raise ConfigurationError(f"the sample has no objects at '{found}'. Name their place with --records.")
    click.echo(f"{len(records)} records at '{found}'", err=True)
    click.echo(json.dumps({"type": "object", "properties": inferred(records)}, indent=2, ensure_ascii=False))


@COMMANDS.command()
def schema() -> None:
    """Print the JSON Schema of the format, for editors."""
    click.echo(json.dumps(format_schema(), indent=1, ensure_ascii=False))


@COMMANDS.command()
@click.argument("file", type=FILE)
@_honest
def meltano(file: Path) -> None:
    """Print the connector's plug-in for meltano.yml: a tap of its own that inherits from tap-rest."""
    definition = define(read_document(file))
    click.echo(
        yaml.safe_dump([plugin(definition, file)], sort_keys=False, allow_unicode=True, width=110), nl=False
    )


def plugin(definition: Definition, file: Path) -> dict[str, Any]:
    """Return a definition as an extractor of meltano.yml, its parameters as settings."""
    settings = []
    for name, parameter in definition.parameters.items():
        schema = parameter_schema(name, parameter)
        setting = {"name": name, "label": schema["title"], "description": schema["description"]}
        if parameter.get("secret"):
            setting["sensitive"] = True
        kind = {"integer": "integer", "number": "decimal", "boolean": "boolean", "array": "array"}.get(
            parameter.get("type", "string")
        )
        if kind:
            setting["kind"] = kind
        elif parameter.get("format") == "date-time":
            setting["kind"] = "date_iso8601"
        if "default" in parameter:
            setting["value"] = parameter["default"]
        settings.append(setting)
    return {
        "name": f"tap-{definition.data['id']}",
        "inherit_from": "tap-rest",
        "label": definition.data.get("name") or definition.data["id"],
        "config": {"connector": str(file)},
        "settings": settings,
    }

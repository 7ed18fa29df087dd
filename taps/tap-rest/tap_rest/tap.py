"""tap-rest: any REST API, described in one YAML file."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from singer_sdk.configuration._dict_config import parse_environment_config
from singer_sdk.plugin_base import SingerCommand
from typing_extensions import override

from icetap.errors import ConfigurationError
from icetap.rest import REST_SETTINGS, Auth, ClientOptions, RestStream, RestTap
from icetap.rest.templates import Template
from tap_rest.building import error_rules, rates, stream_types
from tap_rest.definition import Definition, define
from tap_rest.documents import Document, parse_document, read_document
from tap_rest.durations import duration
from tap_rest.linting import refuse_errors
from tap_rest.signing import make_auth

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import click

_LABEL = re.compile(r"[A-Za-z0-9-]+")


class TapRest(RestTap):
    """Reads any REST API that a YAML file describes; each file is a connector of its own."""

    name = "tap-rest"
    package_name = "icetap-tap-rest"

    config_jsonschema: ClassVar[dict] = {  # type: ignore[type-arg]
        "type": "object",
        "properties": {
            "connector": {
                "anyOf": [{"type": "string"}, {"type": "object"}],
                "title": "Connector",
                "description": "The YAML or JSON file that describes the API, relative to the working folder or the Meltano "
                "project; or the description itself, as an object. Its `parameters` are settings beside this one.",
                "examples": ["connectors/aircall.yaml"],
            },
            **REST_SETTINGS,
        },
    }

    _definition: Definition | None = None

    def __init__(self, **kwargs: Any) -> None:
        self._reads_environment = bool(kwargs.get("parse_env_config"))
        super().__init__(**kwargs)

    @property
    def definition(self) -> Definition:
        """The connector's definition."""
        if self._definition is None:
            raise ConfigurationError(
                "setting 'connector' is missing: the YAML file that describes the API. `tap-rest new` writes one."
            )
        return self._definition

    @override
    def _validate_config(self, *, raise_errors: bool = True) -> list[str]:
        connector = self._config.get("connector")
        if connector is not None and not isinstance(connector, str | dict):
            raise ConfigurationError("setting 'connector' is neither a file's name nor an object")
        if connector:
            self._definition = define(connector_document(connector))
            refuse_errors(self._definition)
            self.config_jsonschema = with_parameters(type(self).config_jsonschema, self._definition)  # type: ignore[misc]
            if self._reads_environment:
                # The SDK has looked for the settings of the class only: a connector's own were not known yet.
                self._config = {**self._config, **self._parameters_in_environment()}
        return super()._validate_config(raise_errors=raise_errors)

    def _parameters_in_environment(self) -> dict[str, Any]:
        own = {name: self.config_jsonschema["properties"][name] for name in self.definition.parameters}
        return parse_environment_config({"properties": own}, self._env_var_prefix)

    @override
    def url(self) -> str:
        definition = self.definition
        return rendered_base_url(
            definition.data["base_url"], self.config, where=definition.document.where(("base_url",))
        )

    @override
    def make_auth(self) -> Auth:
        definition = self.definition
        return make_auth(definition.data.get("auth"), self.config, where=definition.document.where(("auth",)))

    @override
    def client_options(self) -> ClientOptions:
        data = self.definition.data
        self.rates = rates(data.get("rate_limit"))
        self.errors = error_rules(data.get("errors"))
        self.error_text = data.get("error_text")
        self.wait_headers = (data.get("retry") or {}).get("wait_headers") or ()
        self.allowed_hosts = tuple(data.get("allowed_hosts") or ())
        self.block_private = data.get("block_private", False)
        return super().client_options()

    @override
    def declared_streams(self) -> Sequence[RestStream]:
        return [declared(self) for declared in stream_types(self.definition)]

    @property
    @override
    def tested_streams(self) -> Sequence[str] | None:
        found: Sequence[str] | None = self.definition.data.get("check")
        return found

    @classmethod
    @override
    def get_singer_command(cls) -> click.Command:
        """Add the commands around a definition: `tap-rest lint FILE` and its kind."""
        command = super().get_singer_command()
        return _WithCommands(
            name=command.name,
            callback=command.callback,
            params=command.params,
            help=command.help,
            epilog="Around a connector: tap-rest new | lint | resolve | preview | infer | schema | meltano.",
            context_settings=command.context_settings,
            logger=cls.logger,
        )


class _WithCommands(SingerCommand):
    """The Singer command line, in which a first word without dashes names a command of the builder."""

    @override
    def main(self, args: Sequence[str] | None = None, *arguments: Any, **options: Any) -> Any:
        from tap_rest.commands import COMMANDS  # noqa: PLC0415 -- a run does not need them

        given = list(sys.argv[1:] if args is None else args)
        if given and not given[0].startswith("-"):
            return COMMANDS.main(given, prog_name="tap-rest")
        return super().main(args, *arguments, **options)


def connector_document(connector: str | Mapping[str, Any]) -> Document:
    """Return the document that the setting `connector` names, or is.

    Raises:
        ConfigurationError: When there is no such file.
    """
    if isinstance(connector, str):
        return read_document(found_path(connector))
    return parse_document(_json(connector), name="setting 'connector'", folder=Path.cwd())


def _json(value: Mapping[str, Any]) -> str:
    import json  # noqa: PLC0415 -- only for definitions given inline

    return json.dumps(value, indent=1, ensure_ascii=False)


def found_path(text: str) -> Path:
    """Return the file, looked for in the working folder and in the Meltano project."""
    path = Path(text).expanduser()
    project = os.environ.get("MELTANO_PROJECT_ROOT")
    places = [path] if path.is_absolute() or not project else [path, Path(project) / path]
    for place in places:
        if place.is_file():
            return place
    looked = " and ".join(str(place.absolute()) for place in places)
    raise ConfigurationError(f"setting 'connector': there is no file {looked}. `tap-rest new` writes one.")


def with_parameters(jsonschema: Mapping[str, Any], definition: Definition) -> dict[str, Any]:
    """Return the settings' schema with the definition's parameters and retries in it."""
    properties = {name: dict(schema) for name, schema in jsonschema["properties"].items()}
    required = []
    for name, parameter in definition.parameters.items():
        if name == "connector":
            raise ConfigurationError(
                f"{definition.document.where(('parameters', name))}: the parameter 'connector' is the tap's own setting."
            )
        properties[name] = parameter_schema(name, parameter)
        if parameter.get("required"):
            required.append(name)
    retry = definition.data.get("retry") or {}
    if "max_attempts" in retry:
        properties["max_retries"]["default"] = retry["max_attempts"] - 1
    if "max_wait" in retry:
        properties["max_wait_seconds"]["default"] = int(duration(retry["max_wait"]).total_seconds())
    return {**jsonschema, "properties": properties, "required": required}


def parameter_schema(name: str, parameter: Mapping[str, Any]) -> dict[str, Any]:
    """Return a parameter as the schema of a setting."""
    kind = parameter.get("type", "string")
    schema: dict[str, Any] = {
        "type": kind if parameter.get("required") else [kind, "null"],
        "title": parameter.get("title") or name.replace("_", " ").capitalize(),
        "description": parameter.get("help") or f"`{{config.{name}}}` in the connector.",
    }
    schema |= {key: parameter[key] for key in ("format", "enum", "default", "pattern") if key in parameter}
    if parameter.get("secret"):
        schema["secret"] = True
    if "example" in parameter:
        schema["examples"] = [parameter["example"]]
    return schema


def rendered_base_url(text: str, config: Mapping[str, Any], *, where: str) -> str:
    """Return the base URL. A value inside of the host's name must be one label, so that no setting leads elsewhere.

    Raises:
        ConfigurationError: When a value is missing, or is no label.
    """
    scope = {"config": config}
    template = Template(text)
    if [text] != [placeholder for _, placeholder in template.placeholders]:
        host = re.match(r"[a-z]+://[^/]*", text)
        for _, placeholder in Template(host[0]).placeholders if host else ():
            value = Template(placeholder).render(scope)
            if value is not None and not _LABEL.fullmatch(str(value)):
                raise ConfigurationError(
                    f"{where}: {placeholder} is part of the host's name, so it may hold letters, digits and hyphens only."
                )
    url = template.render(scope)
    if url is None:
        raise ConfigurationError(f"{where}: the base URL '{text}' needs a setting that has no value.")
    return str(url)

"""The command `target-iceberg`: settings, command line, wiring."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections import Counter
from typing import IO, TYPE_CHECKING, Any

import click
from singer_sdk import Target
from singer_sdk.exceptions import ConfigValidationError
from singer_sdk.helpers._classproperty import classproperty
from singer_sdk.helpers.capabilities import PluginCapabilities, TargetCapabilities
from singer_sdk.plugin_base import _ConfigInput
from singer_sdk.singerlib.encoding.base import GenericSingerReader, SingerMessageType
from typing_extensions import override

from icetap import faults, scratch_folders
from icetap.catalogs import open_catalog
from icetap.command_line import read_config
from icetap.errors import ConfigurationError, DataError, IcetapError
from icetap.secrets import references
from icetap.secrets.redaction import REDACTOR, install
from icetap.settings import check_settings
from target_iceberg.commands import commands
from target_iceberg.decoding.ahead import in_advance
from target_iceberg.decoding.reader import Message, Run, messages
from target_iceberg.loader import Loader
from target_iceberg.reporting import ending, on_failure_command
from target_iceberg.settings import CONFIG
from target_iceberg.signals import Terminated, Termination
from target_iceberg.upkeep import inspection

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

LOGGER = logging.getLogger("target-iceberg")
TICK_SECONDS = 1.0


class BytesReader(GenericSingerReader[bytes]):
    """The SDK's seam for readers, filled with one that hands runs of raw lines to the loader."""

    def __init__(self, loader: Loader) -> None:
        super().__init__()
        self._loader = loader

    @property
    @override
    def default_input(self) -> IO[bytes]:
        return sys.stdin.buffer

    @override
    def deserialize_json(self, line: bytes) -> dict[str, Any]:
        raise TypeError("lines are decoded in runs")

    @override
    def process_lines(
        self, file_input: IO[bytes] | None, callbacks: dict[str, Callable[[dict[str, Any]], None]]
    ) -> Counter[str]:
        counter: Counter[str] = Counter()
        source = file_input or self.default_input
        items = messages(source.fileno(), tick_seconds=TICK_SECONDS)
        for item in in_advance(items, self._loader.begin):
            self._loader.take(item)
            if isinstance(item, Run):
                counter[SingerMessageType.RECORD] += item.count
            elif isinstance(item, Message):
                counter[item.type] += 1
        return counter


class TargetIceberg(Target):
    """Loads any Singer tap into Apache Iceberg tables, exactly once."""

    name = "target-iceberg"
    package_name = "icetap-target-iceberg"
    config_jsonschema = CONFIG
    capabilities = [  # noqa: RUF012 - the SDK declares it so
        PluginCapabilities.ABOUT,
        PluginCapabilities.BATCH,
        PluginCapabilities.ACTIVATE_VERSION,
        PluginCapabilities.STRUCTURED_LOGGING,
        TargetCapabilities.HARD_DELETE,
    ]

    def __init__(self, *, is_load: bool = False, **options: Any) -> None:
        """Open the catalog.

        Args:
            is_load: Whether this is for a load, whose failure is told as the settings say.
            options: Those of the SDK's class.
        """
        self._termination = Termination()
        super().__init__(setup_mapper=False, **options)
        check_settings(self.config, self.config_jsonschema, plugin=self.name)
        install()
        if swept := scratch_folders.sweep():
            LOGGER.info("Removed %d temporary folders that killed processes left behind", swept)
        if command := self.config.get("on_failure_command"):
            on_failure_command.check(command)
        try:
            self.catalog = open_catalog(self.config)
        except IcetapError as error:
            if is_load:
                ending.tell_of_no_start(self.config, pipeline=pipeline_name(self.config), error=error)
            raise
        self.loader = Loader(
            self.catalog,
            self.config,
            pipeline=pipeline_name(self.config),
            emit=_emit,
            termination=self._termination,
        )
        self.message_reader = BytesReader(self.loader)

    @property
    def termination(self) -> Termination:
        """What SIGTERM and SIGINT do to this process."""
        return self._termination

    @override
    def _validate_config(self, *, raise_errors: bool = True) -> list[str]:
        # Before the SDK looks at them: its messages repeat the value that is wrong.
        install()
        self._config = references.resolve(self._config, self.config_jsonschema).config
        REDACTOR.add_settings(self._config, self.config_jsonschema)
        try:
            return super()._validate_config(raise_errors=raise_errors)
        except ConfigValidationError as error:
            raise ConfigurationError("; ".join(error.errors)) from None

    @classmethod
    @override
    def cb_config(cls, ctx: click.Context, param: click.Option, value: tuple[str, ...]) -> _ConfigInput:
        return read_config(super().cb_config, ctx, param=param, value=value)

    @override
    def _handle_termination(self, signum: int, frame: FrameType | None) -> None:
        self._termination.handle(signum, frame)

    @override
    def process_endofpipe(self) -> None:
        self.loader.finish()

    @classproperty
    def _env_var_config(cls) -> dict[str, Any]:  # noqa: N805 - as in the SDK
        """Settings from variables; the SDK leaves numbers with a fraction as text."""
        found: dict[str, Any] = super()._env_var_config
        for name, value in found.items():
            if isinstance(value, str) and "number" in CONFIG["properties"][name].get("type", ()):
                with contextlib.suppress(ValueError):
                    found[name] = float(value)
        return found

    @classmethod
    @override
    def append_builtin_config(cls, config_jsonschema: dict[str, Any]) -> None:
        """Every setting is declared by the loader itself."""

    @classmethod
    @override
    def invoke(  # type: ignore[override]  # each kind of plug-in has its own options, as in the SDK
        cls,
        *,
        about: bool = False,
        about_format: str | None = None,
        config: _ConfigInput | None = None,
        file_input: IO[str] | None = None,
        read_state: bool = False,
    ) -> None:
        super(Target, cls).invoke(about=about, about_format=about_format)
        config = config or _ConfigInput()
        target = cls(config=config.config, parse_env_config=config.parse_env, is_load=not read_state)
        if read_state:
            _emit(inspection.read_state(target.catalog, _named_pipeline(target.config)))
        else:
            target.load(file_input)

    def load(self, file_input: IO[str] | None = None) -> None:
        """Load the whole input and report; what is staged and not committed is removed on failure."""
        try:
            self._listen_to_the_end(file_input)
        except BaseException as error:
            self.loader.discard()
            explained = faults.explained(error)
            try:
                self._tell(explained or error)
            except Exception as other:  # noqa: BLE001 - what ended the run must not be hidden behind it
                LOGGER.warning("the end of the run could not be told (%s)", type(other).__name__)
            if explained:
                raise explained from error
            raise
        self._tell(None)

    def _listen_to_the_end(self, file_input: IO[str] | None) -> None:
        try:
            self.listen(file_input)
        except DataError:
            # What came before the message at fault is whole: it is committed, and the run still fails.
            if not self.loader.is_finished:
                try:
                    self.loader.finish(is_cut_short=True)
                except IcetapError as other:
                    LOGGER.error("%s", other)  # noqa: TRY400 - the error at fault follows
            raise

    def _tell(self, error: BaseException | None) -> None:
        summary = self.loader.report(ending.outcome_of(error))
        ending.tell(summary, config=self.config, catalog=self.catalog, error=error)

    @classmethod
    @override
    def get_singer_command(cls) -> click.Command:
        command = super().get_singer_command()
        command.params.append(
            click.Option(
                ["--read-state"],
                is_flag=True,
                help="Print the Singer STATE that fits the tables, and exit.",
            )
        )
        command.epilog = f"Commands beside loading, each with --help: {', '.join(sorted(commands.commands))}."
        return command


def pipeline_name(config: Any) -> str:
    """Return the name under which bookmarks are kept: the setting, Meltano's extractor, or `default`."""
    return _named_pipeline(config) or "default"


def _named_pipeline(config: Any) -> str | None:
    name = config.get("pipeline") or os.environ.get("MELTANO_EXTRACTOR_NAME")
    return str(name) if name else None


def _emit(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """Run the command."""
    try:
        if sys.argv[1:] and not sys.argv[1].startswith("-"):
            commands(prog_name="target-iceberg")
        else:
            TargetIceberg.cli()
    except Terminated as ended:
        sys.exit(ended.exit_code)
    except IcetapError as error:
        sys.stderr.write(REDACTOR.redact(f"target-iceberg: {error}") + "\n")
        sys.exit(error.exit_code)

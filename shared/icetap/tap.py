"""The base of all taps: what a person meets at the command line, and how a run begins and ends."""

from __future__ import annotations

import abc
import contextlib
import os
import signal
import sys
from typing import IO, TYPE_CHECKING, Any, ClassVar

import click
import simplejson  # type: ignore[import-untyped]
from singer_sdk import Tap
from singer_sdk.exceptions import ConfigValidationError, SingerSDKError, StreamMapConfigError
from singer_sdk.helpers._util import load_json
from singer_sdk.plugin_base import _ConfigInput
from typing_extensions import override

from icetap.catalog_file import checked_catalog
from icetap.columnar.output import MessageWriter
from icetap.columnar.stream import ColumnarStream, open_batch_folder
from icetap.command_line import read_config
from icetap.errors import ConfigurationError, IcetapError
from icetap.records.masks import MASKS_SETTINGS, Masks
from icetap.records.masks.copies import copies_by_trial
from icetap.records.masks.streams import mask_streams, stream_columns
from icetap.records.personal.unmasked import unmasked_personal
from icetap.secrets import redaction, references
from icetap.settings import check_settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from singer_sdk.streams import Stream

    from icetap.columnar.batches import BatchFolder
    from icetap.records.masks.copies import Copies, PartOf
    from icetap.records.personal import Finding

BROKEN_PIPE_EXIT = 141
"""What a shell reports for a command that its reader left: 128 + SIGPIPE."""

BATCH_CONFIG_SETTING: dict[str, Any] = {
    "type": ["object", "null"],
    "title": "Arrow lane",
    "description": "Hands records to target-iceberg as Arrow files instead of RECORD lines. Off when empty.",
    "examples": [{"encoding": {"format": "arrow"}}],
    "properties": {
        "encoding": {
            "type": "object",
            "title": "Encoding",
            "description": "The files' format: `arrow`, one Arrow IPC file each.",
            "properties": {
                "format": {
                    "type": "string",
                    "enum": ["arrow"],
                    "title": "Format",
                    "description": "Always `arrow`.",
                }
            },
        },
        "storage": {
            "type": "object",
            "title": "Storage",
            "description": "Where the files lie until the target has read them.",
            "properties": {
                "root": {
                    "type": "string",
                    "title": "Folder",
                    "description": "A folder of this machine, as a path or a file:// URL. Empty takes the "
                    "folder that target-iceberg looks in by default.",
                }
            },
        },
    },
}

ON_REJECTED_SETTING: dict[str, Any] = {
    "type": "string",
    "enum": ["fail", "skip"],
    "default": "fail",
    "title": "Bad values",
    "description": "What happens to a record with a value that its column's type cannot hold: `fail` ends "
    "the run, `skip` leaves the record out and reports how many.",
}


class Interrupted(BaseException):
    """SIGTERM or SIGINT came; raised where a tap can stop without cutting a line."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.exit_code = 128 + signum


class IcetapTap(Tap, abc.ABC):
    """Base of all taps.

    Settings are checked before anything happens, the first message is a STATE, a run ends with an
    honest exit code: 0 done, 1 failed, 2 settings, 3 data, 130/143 interrupted, 141 the target is gone.
    """

    dynamic_catalog = True
    message_writer_class = MessageWriter

    setting_aliases: ClassVar[dict[str, str]] = {}
    """Other names of settings: alias -> name."""

    settings_elsewhere: ClassVar[dict[str, str]] = {}
    """Settings that taps of other makers have, and what to do instead, as a sentence without its end."""

    def __init__(self, **kwargs: Any) -> None:
        self._signum: int | None = None
        self._is_writing = False
        self.masks = Masks()
        self._batch_folder: BatchFolder | None = None
        self._batch_folder_is_open = False
        super().__init__(**kwargs)

    @property
    def messages(self) -> MessageWriter:
        """The writer of all messages of this run."""
        writer = self.message_writer
        if not isinstance(writer, MessageWriter):
            raise TypeError(f"{self.name} writes through icetap's MessageWriter only")
        return writer

    @property
    def batch_folder(self) -> BatchFolder | None:
        """The folder of the Arrow lane, or None in the RECORD lane."""
        if not self._batch_folder_is_open:
            self._batch_folder = open_batch_folder(self)
            self._batch_folder_is_open = True
        return self._batch_folder

    @classmethod
    @override
    def append_builtin_config(cls, config_jsonschema: dict[str, Any]) -> None:
        super().append_builtin_config(config_jsonschema)
        for name, schema in MASKS_SETTINGS.items():
            config_jsonschema["properties"].setdefault(name, schema)

    @override
    def setup_mapper(self) -> None:
        super().setup_mapper()
        masked = mask_streams(self)
        for stream in self.streams.values():
            if isinstance(stream, ColumnarStream):
                stream.masked_names |= masked.get(stream.name, frozenset())

    @staticmethod
    def masks_itself(stream: Stream) -> bool:
        """Say whether a stream applies its masks by itself, column-wise."""
        return isinstance(stream, ColumnarStream)

    def copies(self, stream: Stream) -> Copies:
        """Return the columns of a stream that are copies of others: what hides the original hides them too."""
        return copies_by_trial(self, stream)

    def part_of(self, stream: Stream) -> PartOf | None:  # noqa: ARG002 - for taps that know
        """Say whether a stream's records are parts of another one's: what hides them there hides them here too."""
        return None

    def personal_by_name(self, stream: Stream) -> dict[str, Finding]:
        """Return the columns of a stream that look personal by their names, and that no mask names."""
        columns = stream_columns(stream.schema, keys=stream.primary_keys)
        return unmasked_personal(self.masks, columns, stream=stream.name)

    @override
    def _validate_config(self, *, raise_errors: bool = True) -> list[str]:
        for alias, name in self.setting_aliases.items():
            if alias in self._config:
                if name in self._config:
                    raise ConfigurationError(
                        f"settings '{name}' and '{alias}' are the same; give one of them"
                    )
                self._config[name] = self._config.pop(alias)
        self.append_builtin_config(self.config_jsonschema)
        check_settings(
            self._config, self.config_jsonschema, plugin=self.name, elsewhere=self.settings_elsewhere
        )
        self._resolve_references()
        errors = super()._validate_config(raise_errors=raise_errors)
        self.masks = Masks.from_config(self._config)
        redaction.REDACTOR.hides_values = False
        if self.masks.is_given:
            redaction.hide_values()
        self.check_config()
        return errors

    def _resolve_references(self) -> None:
        self._config = references.resolve(self._config, self.config_jsonschema).config
        redaction.REDACTOR.add_settings(self._config, self.config_jsonschema)

    def check_config(self) -> None:
        """Check what the settings' JSON Schema cannot say.

        Raises:
            ConfigurationError: Naming the setting.
        """

    @override
    def load_state(self, state: dict[str, Any]) -> None:
        bookmarks = state.get("bookmarks") or {}
        broken = not isinstance(bookmarks, dict) or [
            name for name, bookmark in bookmarks.items() if not isinstance(bookmark, dict)
        ]
        if broken:
            raise ConfigurationError(
                'the state is not of the shape {"bookmarks": {"<stream>": {…}}}; is it of another tap?'
            )
        super().load_state({"bookmarks": bookmarks})

    # --- a run --------------------------------------------------------------------------------------

    def write_state(self) -> None:
        """Write the STATE of all streams and flush."""
        value = {**self.state, "bookmarks": self.state.get("bookmarks", {})}
        self.messages.write_message({"type": "STATE", "value": value})

    def run(self) -> None:
        """Read every selected stream, after a first STATE that says where this run starts."""
        self._is_writing = True
        self.messages.before_message = self.check_interrupted
        try:
            self._run()
        except Exception:
            self.check_interrupted()
            raise
        finally:
            # Also after a signal or an error: what waits is whole, and the target may use it.
            self.messages.before_message = None
            self.messages.lines.flush()

    def _run(self) -> None:
        self._reset_state_progress_markers()
        self._set_compatible_replication_methods()
        self._refuse_missing_streams()
        for stream in self.streams.values():
            if isinstance(stream, ColumnarStream):
                stream.forget_hidden_position()
        self.write_state()
        for stream in self.streams.values():
            if isinstance(stream, ColumnarStream):
                if stream.selected and not stream.shares_reader:
                    self.read_alone(stream)
            elif stream.parent_stream_type is None and (stream.selected or stream.has_selected_descendents):
                stream.sync()
                stream.finalize_state_progress_markers()
        self.read_together()
        for stream in self.streams.values():
            stream.log_sync_costs()

    def read_alone(self, stream: ColumnarStream) -> None:
        """Read one stream."""
        stream.emit()

    def read_together(self) -> None:
        """Read the streams that share one reader (`ColumnarStream.shares_reader`), after all others."""

    def _refuse_missing_streams(self) -> None:
        """End a run that was asked for streams which the source has no more: not reading them is no success.

        Raises:
            ConfigurationError: Naming them.
        """
        if missing := self._missing_streams():
            raise ConfigurationError(
                f"the catalog selects streams that the source does not have: {', '.join(missing)}. "
                "Deselect them, or discover again (Meltano: `--refresh-catalog`)."
            )

    def _missing_streams(self) -> list[str]:
        return [
            name
            for name, entry in (self.input_catalog or {}).items()
            if name not in self.streams and entry.metadata.resolve_selection()[()]
        ]

    @override
    def _handle_termination(self, signum: int, frame: FrameType | None) -> None:
        """Stop at the next line's end, or at once where no line is written yet; a second signal stops at once."""
        if self._signum is not None:
            os._exit(128 + signum)
        self._signum = signum
        if not self._is_writing:
            raise Interrupted(signum)

    def check_interrupted(self) -> None:
        """Raise `Interrupted` when a signal came since the run began.

        Also for an error's handler: a driver that waits for its server while a signal comes may call that a failure.
        """
        if self._signum is not None:
            raise Interrupted(self._signum)

    # --- what a person asks -------------------------------------------------------------------------

    @abc.abstractmethod
    def test_findings(self) -> Iterator[tuple[bool, str]]:
        """Yield one line per thing tested: whether it is good, and what a person should read."""

    @abc.abstractmethod
    def preview(self, stream: str | None, *, sql: str | None, limit: int) -> dict[str, Any]:
        """Return the first records of a stream, or of a query, through the path that a run takes.

        Shape: `{"stream": str, "columns": [{"name", "type", "native_type", "key"}], "rows": [{…}],
        "more": bool}`. `type` is the Arrow type's text; `native_type` is null where the source has
        none; `rows` hold what a RECORD would; `more` says that the limit cut the result.
        """

    @abc.abstractmethod
    def browse(self, name: str | None) -> dict[str, Any]:
        """Return what the source holds.

        Shape: `{"source": str, "version": str, "tables": [{"schema", "name", "stream", "kind",
        "estimated_rows", "size_bytes", "supported", "columns": [{"name", "type", "native_type",
        "nullable", "key"}]}]}`. Unknown numbers are null. With a name (`table`, `schema.table` or
        the stream's), only what it names.
        """

    def run_test(self) -> bool:
        """Print the findings on stdout; return whether all are good."""
        all_good = True
        for is_good, line in self.test_findings():
            all_good = all_good and is_good
            click.echo(f"{'ok  ' if is_good else 'FAIL'}  {redaction.REDACTOR.redact(line)}")
        return all_good

    # --- command line -------------------------------------------------------------------------------

    @classmethod
    @override
    def cb_config(cls, ctx: click.Context, param: click.Option, value: tuple[str, ...]) -> _ConfigInput:
        return read_config(super().cb_config, ctx, param=param, value=value)

    @classmethod
    @override
    def get_singer_command(cls) -> click.Command:
        """Add what people ask for, and let all of it run inside `invoke`, where errors become one line."""
        command = super().get_singer_command()
        replaced = {"discover", "test"}
        command.params = [param for param in command.params if param.name not in replaced]
        command.params += [
            click.Option(["--discover"], is_flag=True, help="Print the catalog."),
            click.Option(
                ["--test"],
                is_flag=False,
                flag_value="all",
                type=click.Choice(["all", "schema"]),
                help="Say whether the settings work: connection, version, rights on each selected stream. "
                "--test=schema prints the SCHEMA messages.",
            ),
            click.Option(["--preview"], metavar="STREAM", help="Print a stream's first records as JSON."),
            click.Option(["--sql"], metavar="QUERY", help="With a query instead of a stream's name."),
            click.Option(
                ["--limit"], type=click.IntRange(1, 10_000), default=20, help="Records in a preview."
            ),
            click.Option(
                ["--browse"],
                is_flag=False,
                flag_value="",
                metavar="[NAME]",
                help="Print schemas, tables and columns as JSON.",
            ),
        ]
        return command

    @classmethod
    @override
    def invoke(
        cls,
        *,
        about: bool = False,
        about_format: str | None = None,
        config: _ConfigInput | None = None,
        state: IO[str] | None = None,
        catalog: IO[str] | None = None,
        **asked: Any,
    ) -> None:
        """Do what the command line asks for; every expected failure becomes one line and an exit code."""
        redaction.install()
        if about:
            cls.print_about(about_format)
            return
        with cls._honest_exit():
            settings = config or _ConfigInput()
            # Neither needs a catalog, and a stale one must not stand in the way.
            looks_only = bool(asked.get("discover")) or any(
                asked.get(name) is not None for name in ("sql", "browse")
            )
            given = None if looks_only else _json_file(catalog, "--catalog")
            tap = cls(
                config=settings.config,
                parse_env_config=settings.parse_env,
                state=_json_file(state, "--state"),
                catalog=None if given is None else checked_catalog(given),
                setup_mapper=not looks_only,
            )
            tap.answer(**asked)

    def answer(
        self,
        *,
        discover: bool = False,
        test: str | None = None,
        preview: str | None = None,
        sql: str | None = None,
        limit: int = 20,
        browse: str | None = None,
    ) -> None:
        """Do the one thing that was asked for; without any, run."""
        if discover:
            self.run_discovery()
        elif test == "schema":
            self.write_schemas()
            self.messages.lines.flush()
        elif test:
            sys.exit(0 if self.run_test() else 1)
        elif preview is not None or sql is not None:
            _print_json(self.preview(preview, sql=sql, limit=limit))
        elif browse is not None:
            _print_json(self.browse(browse or None))
        else:
            self.print_version(print_fn=self.logger.info)
            self.run()

    @classmethod
    @contextlib.contextmanager
    def _honest_exit(cls) -> Iterator[None]:
        try:
            yield
        except IcetapError as error:
            cls.logger.error("%s", error)  # noqa: TRY400 - a person reads one line, not a traceback
            sys.exit(error.exit_code)
        except ConfigValidationError as error:
            for line in error.errors:
                cls.logger.error("%s", line)  # noqa: TRY400
            sys.exit(ConfigurationError.exit_code)
        except StreamMapConfigError as error:
            cls.logger.error("setting 'stream_maps': %s", error)  # noqa: TRY400
            sys.exit(ConfigurationError.exit_code)
        except Interrupted as error:
            cls.logger.info("Stopped by a signal; what was written is whole")
            sys.exit(error.exit_code)
        except BrokenPipeError:
            cls.logger.error("The target stopped reading; its own message says why")  # noqa: TRY400
            # The interpreter would flush stdout once more at exit and complain about the pipe.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(BROKEN_PIPE_EXIT)
        except KeyboardInterrupt:
            sys.exit(128 + signal.SIGINT)
        except Exception as error:
            if not redaction.REDACTOR.hides_values:
                raise
            told = redaction.traceback_without_messages(error)
            is_foreseen = isinstance(error, SingerSDKError | OSError)
            cls.logger.error(  # noqa: TRY400
                "%s:\n%s",
                "The run failed" if is_foreseen else "An unforeseen error; please report it with these lines",
                told,
            )
            sys.exit(1)


def _json_file(file: IO[str] | None, option: str) -> dict[str, Any] | None:
    """Read a JSON object from a file given at the command line; numbers keep their digits."""
    if file is None:
        return None
    try:
        content = load_json(file.read())
    except ValueError as error:
        raise ConfigurationError(f"the file of {option} is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise ConfigurationError(f"the file of {option} holds no JSON object")
    return content


def _print_json(value: dict[str, Any]) -> None:
    sys.stdout.write(simplejson.dumps(value, ensure_ascii=False, use_decimal=True, default=str) + "\n")
    sys.stdout.flush()

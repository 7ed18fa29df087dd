"""The loader's settings: their declaration, and their values for one stream."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from singer_sdk import typing as th

from icetap.errors import ConfigurationError
from icetap.settings import did_you_mean
from target_iceberg.contracts.column_rules import ON_REJECTED, SCHEMA_POLICIES, ColumnRules, check_columns
from target_iceberg.tables.layout_settings import LAYOUT_SETTINGS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MERGE_MODES = ("auto", "copy-on-write", "merge-on-read")
LOAD_METHODS = ("auto", "append-only", "upsert", "overwrite", "snapshot-diff", "history")
DELETE_MODES = ("hard", "soft")
VALID_FROM = "_valid_from"


@dataclass(frozen=True)
class StreamSettings:
    """What the settings say about one stream; the defaults are those of the settings' schema."""

    load_method: str = "auto"
    schema_policy: str = "evolve"
    on_rejected: str | None = None
    columns: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    max_rejected: int | None = None
    key_properties: tuple[str, ...] | None = None
    on_state_mismatch: str = "stop"
    full_table_completion: str = "marker"
    allow_empty_full_table: bool = False
    delete_mode: str = "hard"
    max_delete_ratio: float = 0.5
    number_as: str = "double"
    identifier_case: str = "keep"
    skip_unchanged: bool = True
    merge_mode: str = "auto"
    namespace: str = "raw"
    table_name: str = "{stream}"
    batch_size_mb: int = 512
    batch_size_rows: int = 5_000_000
    flush_seconds: int = 300
    target_file_size_mb: int = 256
    compression: str = "zstd"
    partition_by: Sequence[str] | None = None
    sort_by: Sequence[str] | None = None
    location: str | None = None
    table_properties: Mapping[str, Any] | None = None
    format_version: int = 2
    expire_days: float = 5.0
    keep_snapshots: int = 10
    orphan_days: float = 3.0
    add_record_metadata: bool = False

    @property
    def rules(self) -> ColumnRules:
        """The contract of each column."""
        return ColumnRules(self.schema_policy, self.on_rejected, self.columns)


_PER_STREAM = frozenset(field.name for field in fields(StreamSettings))


def stream_settings(config: Mapping[str, Any], stream: str) -> StreamSettings:
    """Return the settings of one stream: an exact name beats a pattern, the later pattern the earlier.

    Patterns of columns count in that order too, so that those of the stream's own entry come last.

    Raises:
        ConfigurationError: For an option under `streams` that the loader does not have.
    """
    values = {name: config[name] for name in _PER_STREAM if config.get(name) is not None}
    streams = config.get("streams") or {}
    columns: dict[str, Mapping[str, str]] = {}
    matching = []
    for pattern, options in streams.items():
        _check_options(options, where=f"streams.{pattern}")
        if pattern != stream and fnmatch.fnmatchcase(stream, pattern):
            matching.append(options)
    for options in [*matching, streams.get(stream) or {}]:
        values |= options
        for column, rules in (options.get("columns") or {}).items():
            columns[column] = {**columns.pop(column, {}), **rules}
    values["columns"] = columns
    if values.get("key_properties") is not None:
        values["key_properties"] = tuple(values["key_properties"])
    return StreamSettings(**values)


def _check_options(options: Mapping[str, Any], *, where: str) -> None:
    for name, value in options.items():
        if name not in _PER_STREAM:
            raise ConfigurationError(
                f"setting '{where}' has no option '{name}'{did_you_mean(name, _PER_STREAM)}"
            )
        if name == "columns" and value is not None:
            check_columns(value, where=where)
        allowed = [one for one in CONFIG["properties"].get(name, {}).get("enum", ()) if one is not None]
        if allowed and value is not None and value not in allowed:
            raise ConfigurationError(
                f"setting '{where}.{name}' is '{value}'; expected one of {', '.join(allowed)}"
                f"{did_you_mean(str(value), allowed)}"
            )
        _check_range(name, value, where=where)


def _check_range(name: str, value: Any, *, where: str) -> None:
    declared = CONFIG["properties"].get(name, {})
    least, most = declared.get("minimum"), declared.get("maximum")
    if not isinstance(value, int | float) or isinstance(value, bool):
        return
    if (least is not None and value < least) or (most is not None and value > most):
        expected = f"at least {least}" if most is None else f"{least} to {most}"
        raise ConfigurationError(f"setting '{where}.{name}' is {value}; expected {expected}")


def table_keys(keys: tuple[str, ...], settings: StreamSettings) -> tuple[str, ...]:
    """Return the columns that tell the rows of a stream's table apart: in a history, the versions of a key too."""
    return (*keys, VALID_FROM) if settings.load_method == "history" and keys else keys


def keeps_deleted(load_method: str, keys: Sequence[str]) -> bool:
    """Whether a load method heeds `delete_mode: soft`: it finds single rows by their key, and keeps one row of each."""
    return bool(keys) and load_method in {"auto", "upsert", "snapshot-diff"}


def _choice(
    name: str, allowed: tuple[str, ...], *, default: str | None, title: str, description: str
) -> th.Property[str]:
    return th.Property(
        name,
        th.StringType,
        default=default,
        allowed_values=list(allowed),
        title=title,
        description=description,
    )


CONFIG = th.PropertiesList(
    th.Property(
        "warehouse",
        th.StringType,
        title="Warehouse",
        description="Folder or URI that holds the tables. Empty: `warehouse` under the project's root.",
        examples=["warehouse", "s3://lake/warehouse"],
    ),
    th.Property(
        "catalog",
        th.ObjectType(additional_properties=True),
        title="Catalog",
        secret=True,
        description="Properties of a pyiceberg catalog, unchanged. Empty: a SQLite file `catalog.db` in the warehouse.",
        examples=[{"type": "rest", "uri": "https://catalog.example.com"}],
    ),
    th.Property(
        "catalog_name",
        th.StringType,
        default="icetap",
        title="Catalog name",
        description="The name under which the catalog keeps its tables.",
    ),
    th.Property(
        "timeout_seconds",
        th.NumberType(minimum=1),
        default=60,
        title="Time-out",
        description="Seconds without a word from a REST catalog after which a request is given up.",
    ),
    th.Property(
        "max_retries",
        th.IntegerType(minimum=0, maximum=20),
        default=5,
        title="Retries",
        description="How often a call to a catalog that is locked, away or overloaded is repeated; 0.5 to 30 s lie between.",
    ),
    th.Property(
        "namespace",
        th.StringType,
        default="raw",
        title="Namespace",
        description="Namespace of the tables; `{pipeline}`, `{stream}`, `{schema}` and `{environment}` are filled in.",
    ),
    th.Property(
        "table_name",
        th.StringType,
        default="{stream}",
        title="Table name",
        description="Name of each table; `{pipeline}`, `{stream}` and `{schema}` are filled in.",
    ),
    th.Property(
        "pipeline",
        th.StringType,
        title="Pipeline",
        description="Name under which bookmarks are kept in the tables. Empty: the extractor's name from Meltano.",
    ),
    _choice(
        "load_method",
        LOAD_METHODS,
        default="auto",
        title="Load method",
        description="`auto` upserts streams with keys, appends others, and replaces the content by complete full reads. "
        "The others: `docs/how-to/choose-a-load-method.md`.",
    ),
    _choice(
        "delete_mode",
        DELETE_MODES,
        default="hard",
        title="Deletes",
        description="Whether a deleted row of a stream with keys leaves the table, or stays and is marked in "
        "`_sdc_deleted_at`.",
    ),
    th.Property(
        "max_delete_ratio",
        th.NumberType(minimum=0, maximum=1),
        default=0.5,
        title="Most deletes",
        description="Part of a table's rows that a complete full read may delete, 0 to 1; with more it changes nothing. "
        "A hundred rows may always go, unless it is 0.",
    ),
    th.Property(
        "key_properties",
        th.ArrayType(th.StringType),
        title="Key columns",
        description="Key columns, for streams whose tap names none or others.",
    ),
    _choice(
        "schema_policy",
        SCHEMA_POLICIES,
        default="evolve",
        title="Schema policy",
        description="`evolve` adds columns and widens types; `freeze` stops with a list of the differences; "
        "`discard` keeps the table as it is and counts what it leaves out.",
    ),
    _choice(
        "on_rejected",
        ON_REJECTED,
        default=None,
        title="Rejected rows",
        description="Where a row goes that does not fit: the table `<table>__rejected`, a stop, or only a count. "
        "Empty: `quarantine`; with `schema_policy: freeze`, `fail`.",
    ),
    th.Property(
        "max_rejected",
        th.IntegerType(minimum=0),
        title="Most rejected rows",
        description="With more rejected rows than this in a stream, the run stops there with exit code 3. What came "
        "before is loaded.",
    ),
    _choice(
        "on_state_mismatch",
        ("stop", "append", "rewind"),
        default="stop",
        title="State mismatch",
        description="For streams without keys whose state does not fit the table: stop, append all the same, or go back.",
    ),
    _choice(
        "full_table_completion",
        ("marker", "end_of_input"),
        default="marker",
        title="Completion of full reads",
        description="What proves a full read complete: ACTIVATE_VERSION after its rows, or merely the end of the input.",
    ),
    th.Property(
        "allow_empty_full_table",
        th.BooleanType,
        default=False,
        title="Empty full reads",
        description="Whether a complete full read without rows may empty a table.",
    ),
    th.Property(
        "number_as",
        th.StringType,
        default="double",
        title="Numbers as",
        description="Type of a `number` without precision: `double`, `decimal(p,s)` or `string`.",
        examples=["double", "decimal(38,9)", "string"],
    ),
    _choice(
        "identifier_case",
        ("keep", "snake"),
        default="keep",
        title="Column names",
        description="`keep` keeps every character of a column's name; `snake` makes it snake_case.",
    ),
    th.Property(
        "skip_unchanged",
        th.BooleanType,
        default=True,
        title="Skip unchanged rows",
        description="Whether rows that equal the stored ones are left alone.",
    ),
    _choice(
        "merge_mode",
        MERGE_MODES,
        default="auto",
        title="Merge mode",
        description="How changed rows replace stored ones: `copy-on-write` writes their files again, `merge-on-read` "
        "marks them as deleted in delete files, `auto` writes small and worn files again and marks rows in others.",
    ),
    th.Property(
        "batch_size_mb",
        th.IntegerType(minimum=1),
        default=512,
        title="Commit after input",
        description="Megabytes of a stream's input after which its rows are committed.",
    ),
    th.Property(
        "batch_size_rows",
        th.IntegerType(minimum=1),
        default=5_000_000,
        title="Commit after rows",
        description="Rows of a stream after which they are committed.",
    ),
    th.Property(
        "flush_seconds",
        th.IntegerType(minimum=1),
        default=300,
        title="Commit after seconds",
        description="Seconds after which a stream's rows are committed, also while the tap is silent.",
    ),
    th.Property(
        "memory_limit_mb",
        th.IntegerType(minimum=256),
        default=512,
        title="Memory",
        description="Megabytes that buffers, sorts and joins share; what does not fit goes to temporary files.",
    ),
    th.Property(
        "target_file_size_mb",
        th.IntegerType(minimum=1),
        default=256,
        title="File size",
        description="Megabytes of Parquet after which a data file is closed.",
    ),
    _choice(
        "compression",
        ("zstd", "snappy", "gzip", "lz4", "none"),
        default="zstd",
        title="Compression",
        description="Compression of the Parquet files.",
    ),
    *LAYOUT_SETTINGS,
    th.Property(
        "add_record_metadata",
        th.BooleanType,
        default=False,
        title="Record metadata",
        description="Whether to add the columns `_sdc_extracted_at`, `_sdc_batched_at`, `_sdc_sequence` and others.",
    ),
    th.Property(
        "batch_root",
        th.StringType,
        title="Batch folder",
        description="The only folder, or prefix of an object store (`s3://…`), from which BATCH files are read. Empty: the "
        "folder that our taps use by default.",
    ),
    th.Property(
        "stream_maps",
        th.ObjectType(additional_properties=True),
        title="Stream maps",
        description="Inline transformations of the Singer SDK. Streams that use them are loaded row by row, thus slower.",
    ),
    th.Property(
        "stream_map_config",
        th.ObjectType(additional_properties=True),
        title="Stream map values",
        description="Values that expressions of stream maps may use.",
    ),
    th.Property(
        "flattening_enabled",
        th.BooleanType,
        default=False,
        title="Flattening",
        description="Whether objects are flattened into columns of their own. Such streams are loaded row by row.",
    ),
    th.Property(
        "flattening_max_depth",
        th.IntegerType(minimum=0),
        title="Flattening depth",
        description="Levels of objects that are flattened.",
    ),
    th.Property(
        "expire_days",
        th.NumberType(minimum=0),
        default=5,
        title="Days of snapshots",
        description="`target-iceberg maintain` expires snapshots that are older than so many days.",
    ),
    th.Property(
        "keep_snapshots",
        th.IntegerType(minimum=1),
        default=10,
        title="Snapshots kept",
        description="So many of the newest snapshots `target-iceberg maintain` keeps, however old they are.",
    ),
    th.Property(
        "orphan_days",
        th.NumberType(minimum=1),
        default=3,
        title="Age of orphans",
        description="`target-iceberg maintain` deletes files that no snapshot needs when they are older than so many days.",
    ),
    th.Property(
        "report_path",
        th.StringType,
        title="Report file",
        description="File for the run report as JSON. Empty: only the report for people on the log.",
    ),
    th.Property(
        "run_log",
        th.BooleanType,
        default=False,
        title="Log of runs",
        description="Whether each run appends a row for each of its streams to the table `icetap.runs`.",
    ),
    th.Property(
        "on_failure_command",
        th.CustomType({"type": ["array", "string"], "items": {"type": "string"}}),
        title="Command on failure",
        description="Program that is run when a load fails, without a shell, with the run report as JSON on its input. "
        "A list of arguments, or a text that is split into arguments.",
        examples=[["notify", "--channel", "data"], "notify --channel data"],
    ),
    th.Property(
        "streams",
        th.ObjectType(additional_properties=th.ObjectType(additional_properties=True)),
        title="Options of streams",
        description="Options for single streams, by name or pattern. An exact name beats a pattern. Under `columns`, "
        "`schema_policy` and `on_rejected` for single columns, by name or pattern too.",
        examples=[
            {"orders": {"load_method": "append-only", "columns": {"debug_*": {"schema_policy": "discard"}}}}
        ],
    ),
).to_dict()
"""JSON Schema of the loader's settings."""

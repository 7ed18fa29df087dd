"""The command line of `icetap`. Each command imports what it needs when it runs: `--help` stays fast."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from icetap.cli.secrets import secrets
from icetap.command_line import HintingGroup

if TYPE_CHECKING:
    from icetap.cli.query import Lake
    from icetap.connectors import Connector
    from icetap.errors import IcetapError

SCREEN_ROWS = 100
_LISTING = frozenset({"show tables", "show all tables"})
_BROKEN_PIPE = 141  # as a program that SIGPIPE ends

_config = click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Settings as a JSON file. Default: the meltano.yml around, and environment variables.",
)
_environment = click.option("--environment", help="Meltano environment. Default: as Meltano has it.")
_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")


_TOLD_BY_THEMSELVES = (click.ClickException, click.exceptions.Exit, click.Abort)


def _of_catalog(error: Exception) -> IcetapError | None:
    """A fault of a catalog or an object store in plain words; None for anything else."""
    if "pyiceberg" not in sys.modules:
        return None
    from icetap import faults  # noqa: PLC0415

    return faults.explained(error)


class _Group(HintingGroup):
    """A group that tells errors in one line and ends with their exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        from icetap.errors import IcetapError  # noqa: PLC0415

        try:
            return super().invoke(ctx)
        except IcetapError as error:
            from icetap.secrets.redaction import REDACTOR  # noqa: PLC0415

            click.echo(f"icetap: {REDACTOR.redact(str(error))}", err=True)
            ctx.exit(error.exit_code)
        except BrokenPipeError:
            # `icetap query … | head`: the reader has enough. Python would complain again at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(_BROKEN_PIPE)
        except _TOLD_BY_THEMSELVES:
            raise
        except Exception as error:
            if (told := _of_catalog(error)) is None:
                raise
            click.echo(f"icetap: {told}", err=True)
            ctx.exit(told.exit_code)


@click.group(cls=_Group)
@click.version_option(package_name="icetap")
def icetap() -> None:
    """Look at connectors and at the tables that they loaded."""


@icetap.command()
@_as_json
def connectors(*, as_json: bool) -> None:
    """List the connectors of this checkout, or those that are installed."""
    from icetap.cli.rendering import json_text, write_table  # noqa: PLC0415
    from icetap.connectors import find_connectors  # noqa: PLC0415

    found = find_connectors()
    if as_json:
        lines = [
            {
                "name": each.name,
                "kind": each.kind,
                "title": each.title,
                "distribution": each.distribution,
                "version": each.version,
                "folder": str(each.folder) if each.folder else None,
                **{name: value for name, value in each.manifest.items() if name not in {"kind", "title"}},
            }
            for each in found
        ]
        click.echo(json_text(lines))
        return
    rows = [
        [each.name, each.title, str(each.manifest.get("category", "")), _methods(each), each.version]
        for each in found
    ]
    write_table(["connector", "title", "category", "methods", "version"], rows)


def _methods(connector: Connector) -> str:
    methods = connector.manifest.get("replication_methods") or connector.manifest.get("load_methods") or []
    return ", ".join(methods)


@icetap.command()
@click.argument("tap")
@_config
@_environment
@_as_json
def test(tap: str, *, config: Path | None, environment: str | None, as_json: bool) -> None:
    """Say whether a tap's settings work: connection, version, rights on each selected stream."""
    from icetap.cli.configuration import read_connection  # noqa: PLC0415
    from icetap.cli.project_catalog import catalog_options  # noqa: PLC0415
    from icetap.cli.running import run_connector  # noqa: PLC0415

    connection = read_connection(tap, config=config, environment=environment)
    with catalog_options(connection) as selected:
        exit_code, printed = run_connector(connection, *selected, "--test")
    text = printed.decode("utf-8", "replace")
    if as_json:
        from icetap.cli.rendering import json_text  # noqa: PLC0415

        text = json_text(
            [{"ok": line.startswith("ok"), "finding": line[4:].strip()} for line in text.splitlines()]
        )
    click.echo(text.rstrip("\n"))
    click.get_current_context().exit(exit_code)


@icetap.command()
@click.argument("tap")
@click.argument("stream", required=False)
@click.option("--sql", help="A query of the source instead of a stream.")
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="Records to print."
)
@_config
@_environment
@_as_json
def preview(
    tap: str,
    stream: str | None,
    *,
    sql: str | None,
    limit: int,
    config: Path | None,
    environment: str | None,
    as_json: bool,
) -> None:
    """Print the first records of a tap's STREAM, or of a query, through the path that a run takes."""
    if (stream is None) == (sql is None):
        raise click.UsageError(
            "Give a stream's name or --sql, one of the two. `icetap browse` lists the streams."
        )
    from icetap.cli.configuration import read_connection  # noqa: PLC0415
    from icetap.cli.rendering import json_text, write_table  # noqa: PLC0415
    from icetap.cli.running import ask_connector  # noqa: PLC0415

    connection = read_connection(tap, config=config, environment=environment)
    asked = ("--preview", stream) if stream is not None else ("--sql", sql or "")
    found = ask_connector(connection, *asked, "--limit", str(limit))
    if as_json:
        click.echo(json_text(found))
        return
    columns = [column["name"] for column in found["columns"]]
    write_table(columns, [[row.get(name) for name in columns] for row in found["rows"]])
    if found.get("more"):
        click.echo(f"These are the first {len(found['rows'])} records; --limit gives more.", err=True)


@icetap.command()
@click.argument("tap")
@click.argument("name", required=False)
@_config
@_environment
@_as_json
def browse(
    tap: str, name: str | None, *, config: Path | None, environment: str | None, as_json: bool
) -> None:
    """List what a tap's source holds: its tables, or the columns of the table NAME (or schema.table)."""
    from icetap.cli.configuration import read_connection  # noqa: PLC0415
    from icetap.cli.rendering import json_text, write_table  # noqa: PLC0415
    from icetap.cli.running import ask_connector  # noqa: PLC0415

    connection = read_connection(tap, config=config, environment=environment)
    found = ask_connector(connection, *(("--browse",) if name is None else (f"--browse={name}",)))
    if as_json:
        click.echo(json_text(found))
    elif name is not None and len(found["tables"]) == 1:
        from icetap.cli.rendering import table_columns  # noqa: PLC0415

        write_table(*table_columns(found["tables"][0]))
    else:
        from icetap.cli.rendering import source_tables  # noqa: PLC0415

        write_table(*source_tables(found))


@icetap.command()
@click.argument("sql", required=False)
@_config
@_environment
@click.option(
    "--target", default="target-iceberg", show_default=True, help="The loader's name in meltano.yml."
)
@_as_json
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV instead of a table.")
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    help=f"Rows to print, 0 for all. Default: {SCREEN_ROWS} in a table, all with --json and --csv.",
)
def query(
    sql: str | None,
    *,
    config: Path | None,
    environment: str | None,
    target: str,
    as_json: bool,
    as_csv: bool,
    limit: int | None,
) -> None:
    """Ask the loaded tables in SQL (DuckDB's); without SQL, list them.

    Tables are `namespace.table`; the namespace may be left out when only one has a table of that name. Only
    the files and columns that the question needs are read, and nothing is ever written.
    """
    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other.")
    from icetap.catalogs import open_catalog  # noqa: PLC0415
    from icetap.cli.configuration import read_catalog_settings  # noqa: PLC0415
    from icetap.cli.query import Lake  # noqa: PLC0415

    settings, root = read_catalog_settings(target, config=config, environment=environment)
    lake = Lake(open_catalog(settings, root=root, create=False))
    shown = "json" if as_json else "csv" if as_csv else "table"
    if sql is None or sql.strip(" ;\n").lower() in _LISTING:
        _print_tables(lake, shown)
    else:
        _print_result(lake, sql, shown, limit=limit)


def _print_tables(lake: Lake, shown: str) -> None:
    from icetap.cli.rendering import instant, print_rows  # noqa: PLC0415

    rows = [[each.namespace, each.name, each.rows, instant(each.committed_at)] for each in lake.tables()]
    print_rows(["namespace", "table", "rows", "committed_at"], rows, shown=shown)
    if not rows and shown == "table":
        click.echo("Nothing has been loaded yet.", err=True)


def _print_result(lake: Lake, sql: str, shown: str, *, limit: int | None) -> None:
    from itertools import islice  # noqa: PLC0415

    from icetap.cli.rendering import print_rows  # noqa: PLC0415

    columns, rows = lake.rows(sql)
    if shown != "table":
        print_rows(columns, islice(rows, limit or None), shown=shown)
        return
    most = SCREEN_ROWS if limit is None else limit
    listed = list(islice(rows, most or None))
    print_rows(columns, listed, shown=shown)
    if most and next(rows, None) is not None:
        click.echo(f"These are the first {most} rows; --limit 0 prints all.", err=True)


@icetap.command()
@click.argument("tap")
@click.argument("target", default="target-iceberg")
@click.argument("streams", nargs=-1)
@click.option("--show-values", is_flag=True, help="Show the values that differ; keys are always shown.")
@click.option(
    "--limit",
    type=click.IntRange(0, 10_000),
    default=20,
    show_default=True,
    help="Examples of each kind of difference.",
)
@click.option(
    "--tap-config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The tap's settings as a JSON file. Default: the meltano.yml around, and environment variables.",
)
@click.option(
    "--target-config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The loader's settings, likewise.",
)
@_environment
@_as_json
def verify(
    tap: str,
    target: str,
    streams: tuple[str, ...],
    *,
    show_values: bool,
    limit: int,
    tap_config: Path | None,
    target_config: Path | None,
    environment: str | None,
    as_json: bool,
) -> None:
    """Prove that tables equal their source: read both, compare counts, keys and values, say what differs.

    STREAMS are names or globs; without any, all selected streams are compared. Nothing is written. The exit code is 0
    when all are equal, 1 when something differs; rows beyond a table's bookmark are counted apart, as not loaded yet.
    """
    from icetap.cli.configuration import read_connection  # noqa: PLC0415
    from icetap.cli.verify import verify as compare  # noqa: PLC0415

    is_equal, text = compare(
        read_connection(tap, config=tap_config, environment=environment),
        read_connection(target, config=target_config, environment=environment, kind="target"),
        streams=streams,
        options=[
            f"--limit={limit}",
            *(("--show-values",) if show_values else ()),
            *(("--json",) if as_json else ()),
        ],
    )
    click.echo(text)
    click.get_current_context().exit(0 if is_equal else 1)


@icetap.command()
@click.argument("tap")
@click.argument("stream")
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=500, show_default=True, help="Records to look at."
)
@_config
@_environment
@_as_json
def pii(
    tap: str, stream: str, *, limit: int, config: Path | None, environment: str | None, as_json: bool
) -> None:
    """Find columns of STREAM that look personal, by name and by a sample, and propose masks for them.

    Prints a block for the setting `masks`, with reasons and never a value. Columns that `masks` names already are
    left out.
    """
    from icetap.cli.configuration import read_connection  # noqa: PLC0415
    from icetap.cli.pii import as_yaml, proposals  # noqa: PLC0415
    from icetap.cli.rendering import json_text  # noqa: PLC0415
    from icetap.cli.running import ask_connector  # noqa: PLC0415

    connection = read_connection(tap, config=config, environment=environment)
    preview = ask_connector(connection, "--preview", stream, "--limit", str(limit))
    found = proposals(preview, masks=connection.settings.get("masks"))
    if as_json:
        click.echo(
            json_text(
                [{"column": each.column, "mask": str(each.mask), "reason": each.reason} for each in found]
            )
        )
    elif found:
        click.echo(as_yaml(preview["stream"], found))
    else:
        click.echo(f"Nothing in {stream} looks personal and has no mask.", err=True)


icetap.add_command(secrets)


@icetap.group()
def new() -> None:
    """Start something new in this checkout."""


@new.command("tap")
@click.argument("name")
@click.option("--title", help="What the source calls itself. Default: the name, capitalised.")
def new_tap_command(name: str, *, title: str | None) -> None:
    """Write a tap called tap-NAME that runs, with tests, and passes conformance before you change it."""
    from icetap.cli.new import new_tap  # noqa: PLC0415

    folder = new_tap(name, start=Path.cwd(), title=title)
    click.echo(f"Wrote {folder}. Next:")
    click.echo("  make docs                          # its settings in README.md and meltano.yml")
    click.echo(
        f"  make test                          # installs it; `pytest {folder.parent.name}/{folder.name}` tests it alone"
    )
    click.echo(f"  icetap preview {folder.name} tickets   # its first records")

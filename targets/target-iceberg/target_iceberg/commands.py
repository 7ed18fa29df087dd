"""The commands of the loader beside loading: `target-iceberg <command>`."""

from __future__ import annotations

import functools
import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from icetap import faults
from icetap.command_line import HintingGroup
from icetap.errors import IcetapError
from icetap.secrets.redaction import REDACTOR
from target_iceberg.session import Session, open_session
from target_iceberg.signals import Terminated

if TYPE_CHECKING:
    from collections.abc import Callable


class _Group(HintingGroup):
    """A group that tells errors in one line and ends with their exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Terminated as ended:
            ctx.exit(ended.exit_code)
        except (IcetapError, OSError, ValueError, RuntimeError) as error:
            told = error if isinstance(error, IcetapError) else faults.explained(error)
            if told is None:
                raise
            click.echo(REDACTOR.redact(f"target-iceberg: {told}"), err=True)
            ctx.exit(told.exit_code)


@click.group(cls=_Group)
def commands() -> None:
    """Look after the tables that were loaded. Without a command, a tap's messages are loaded from stdin."""


def on_a_lake(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the option `--config`, and a `Session` as its first argument."""

    @click.option(
        "--config",
        multiple=True,
        help="File with settings, or ENV for TARGET_ICEBERG_* variables (the default). May be repeated.",
    )
    @functools.wraps(function)
    def opened(*arguments: Any, config: tuple[str, ...], **options: Any) -> None:
        function(open_session(config), *arguments, **options)

    return opened


as_json = click.option("--json", "wants_json", is_flag=True, help="Print JSON instead of text.")
confirmed = click.option("--yes", is_flag=True, help="Do it without asking.")


def print_json(value: Any) -> None:
    """Print a value for programs, without the secrets of the settings."""
    click.echo(REDACTOR.redact(json.dumps(value, indent=2)))


@commands.command("inspect")
@click.argument("streams", nargs=-1)
@as_json
@on_a_lake
def inspect(session: Session, *, streams: tuple[str, ...], wants_json: bool) -> None:
    """Show the loaded tables: rows, files and their sizes, snapshots, bookmarks, and what `maintain` would do.

    STREAMS are names of streams or tables, or globs; without any, every table is shown.
    """
    from target_iceberg.upkeep import survey  # noqa: PLC0415 - the other commands need none of it

    tables = [
        survey.describe(table, catalog=session.catalog, config=session.config)
        for table in session.tables(streams)
    ]
    if wants_json:
        print_json(tables)
    else:
        click.echo(REDACTOR.redact(survey.as_text(tables)))


@commands.command("verify")
@click.option(
    "--stream", "streams", multiple=True, help="Compare this stream only (or glob). May be repeated."
)
@click.option("--show-values", is_flag=True, help="Show the values that differ; keys are always shown.")
@click.option(
    "--limit",
    type=click.IntRange(0, 10_000),
    default=20,
    show_default=True,
    help="Examples of each kind of difference.",
)
@as_json
@on_a_lake
def verify(
    session: Session, *, streams: tuple[str, ...], show_values: bool, limit: int, wants_json: bool
) -> None:
    """Compare the tables with a tap's messages on stdin, row by row; exit code 1 when they differ.

    The tap must read from its start, without a state, and to its end: `icetap verify` runs it so, and sees to it.
    """
    from target_iceberg.target import pipeline_name  # noqa: PLC0415 - which imports the commands
    from target_iceberg.verification import differences, verify  # noqa: PLC0415 - other commands do without DuckDB

    findings = verify.verify(
        sys.stdin.buffer,
        catalog=session.catalog,
        config=session.config,
        pipeline=pipeline_name(session.config),
        termination=session.termination,
        streams=streams,
        limit=limit,
    )
    if wants_json:
        print_json(differences.as_json(findings, show_values=show_values))
    else:
        click.echo(REDACTOR.redact(differences.as_text(findings, show_values=show_values)))
    sys.exit(0 if all(one.is_equal for one in findings) else 1)


@commands.command("maintain")
@click.argument("streams", nargs=-1)
@click.option("--dry-run", is_flag=True, help="Change nothing; tell what would be done.")
@click.option(
    "--compact/--no-compact", default=True, help="Write small files and those with many deletes again."
)
@click.option(
    "--expire/--no-expire", default=True, help="Remove old snapshots and the files that only they need."
)
@click.option(
    "--sweep/--no-sweep", default=True, help="Delete old files under the table's location that nothing needs."
)
@click.option(
    "--min-files",
    type=click.IntRange(min=2),
    default=5,
    show_default=True,
    help="So many small files of a partition are worth writing again as one.",
)
@click.option(
    "--expire-days",
    type=click.FloatRange(min=0),
    help="Snapshots younger than so many days stay. Default: the setting expire_days.",
)
@click.option(
    "--keep-snapshots",
    type=click.IntRange(min=1),
    help="So many snapshots stay, however old. Default: the setting keep_snapshots.",
)
@click.option(
    "--orphan-days",
    type=click.FloatRange(min=1),
    help="Only files older than so many days are swept. Default: the setting orphan_days.",
)
@as_json
@on_a_lake
def maintain(
    session: Session, *, streams: tuple[str, ...], dry_run: bool, wants_json: bool, **options: Any
) -> None:
    """Keep tables fast and small: compact, expire, sweep.

    STREAMS are names of streams or tables, or globs; without any, every table is looked after. Safe beside
    running loads. The exit code is not 0 when something could not be done.
    """
    from target_iceberg.reporting import run_log  # noqa: PLC0415 - the other commands need none of it
    from target_iceberg.upkeep import maintenance  # noqa: PLC0415 - as above

    chosen = maintenance.MaintenanceOptions(is_dry_run=dry_run, **options)
    keeper = maintenance.Maintenance(session.catalog, session.config, chosen)
    tables = maintenance.with_quarantines(session.catalog, session.tables(streams))
    if not streams and (runs := run_log.find(session.catalog)) is not None:
        tables.append(runs)
    reports = [keeper.of(table) for table in tables]
    if wants_json:
        print_json({"dry_run": dry_run, "tables": [report.as_json() for report in reports]})
    else:
        click.echo(REDACTOR.redact(maintenance.as_text(reports, is_dry_run=dry_run)))
    if any(report.failure for report in reports):
        raise click.exceptions.Exit(1)


@commands.command("reset")
@click.argument("stream")
@click.option("--pipeline", help="Whose bookmark is meant, when several pipelines load the table.")
@click.option("--data", "what", flag_value="data", help="Empty the table too; older snapshots keep its rows.")
@click.option("--drop", "what", flag_value="drop", help="Remove the table and its files altogether.")
@confirmed
@as_json
@on_a_lake
def reset(
    session: Session, *, stream: str, pipeline: str | None, what: str | None, yes: bool, wants_json: bool
) -> None:
    """Forget the bookmark of STREAM, so that its next run reads from the start.

    STREAM is the name of a stream or a table. Rows of a stream with keys are merged with those that are
    there; rows of a stream without keys would be there twice, unless --data or --drop is given. A run that
    is loading the table meanwhile is refused.
    """
    from target_iceberg.upkeep import reset as module  # noqa: PLC0415 - the other commands need none of it

    table = session.table(stream)
    whose = session.pipeline(table, pipeline)
    appends = module.appends(table, session.config)
    name = ".".join(table.name())
    if what == "drop":
        _confirm(f"Remove table {name} and all its files for good?", yes=yes)
    elif what == "data":
        _confirm(f"Empty table {name}?", yes=yes)
    elif appends:
        _confirm(f"Rows of '{stream}' are appended: what is read again will be there twice. Go on?", yes=yes)
    with session.termination.held_back():
        if what == "drop":
            report = module.drop_table(session.catalog, table, whose)
        else:
            report = module.forget_bookmark(table, whose, with_rows=what == "data", appends=appends)
    if wants_json:
        print_json(asdict(report))
    else:
        click.echo(REDACTOR.redact(module.as_text(report)))


def _confirm(question: str, *, yes: bool) -> None:
    """Ask before something that cannot be taken back.

    Raises:
        click.UsageError: When nobody can be asked and --yes is not given.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"{question} Say so with --yes.")
    click.confirm(question, abort=True)


@commands.command("replay-rejected")
@click.argument("streams", nargs=-1)
@click.option("--dry-run", is_flag=True, help="Change nothing; tell what would become of each row.")
@click.option(
    "--on-conflict",
    type=click.Choice(["keep", "load", "drop"]),
    default="keep",
    show_default=True,
    help="What to do with a row whose key is in the table, when nothing tells which of the two is newer.",
)
@click.option(
    "--distinct",
    is_flag=True,
    help="Load a row once that several runs have refused; for streams without keys.",
)
@as_json
@on_a_lake
def replay_rejected(
    session: Session,
    *,
    streams: tuple[str, ...],
    dry_run: bool,
    on_conflict: str,
    distinct: bool,
    wants_json: bool,
) -> None:
    """Load refused rows again, after the settings, the SCHEMA or the loader were mended.

    STREAMS are names of streams or tables, or globs; without any, every quarantine is looked through. A row that
    fits now goes into its table, unless the table has a newer one of its key; what does not fit stays.
    """
    from target_iceberg.contracts import replay  # noqa: PLC0415 - the other commands need none of it
    from target_iceberg.target import pipeline_name  # noqa: PLC0415 - which imports the commands

    reports = [
        replay.StreamReplay(
            session.catalog,
            session.config,
            table,
            pipeline=pipeline_name(session.config),
            termination=session.termination,
            on_conflict=on_conflict,
            is_distinct=distinct,
            is_dry_run=dry_run,
        ).told()
        for table in session.tables(streams)
    ]
    if wants_json:
        print_json({"dry_run": dry_run, "streams": [replay.as_json(report) for report in reports]})
    else:
        click.echo(REDACTOR.redact(replay.as_text(reports, is_dry_run=dry_run)))
    failed = next((report.failure for report in reports if report.failure is not None), None)
    if failed is not None:
        raise click.exceptions.Exit(failed.exit_code)


@commands.command("rekey")
@click.argument("stream")
@click.option("--keys", required=True, help="The new key's columns, separated by commas; empty for no key.")
@click.option("--dry-run", is_flag=True, help="Change nothing; tell which rows stand in the way.")
@click.option("--drop-null-keys", is_flag=True, help="Remove the rows that lack a value in a key column.")
@click.option(
    "--latest-by",
    metavar="COLUMN",
    help="Of rows with the same key, keep the one with the largest value in this column, and remove the others.",
)
@as_json
@on_a_lake
def rekey(
    session: Session,
    stream: str,
    *,
    keys: str,
    dry_run: bool,
    drop_null_keys: bool,
    latest_by: str | None,
    wants_json: bool,
) -> None:
    """Give the table of STREAM another key, in one commit.

    Each row must have a value in every key column, and no two rows the same: those that stand in the way are told.
    """
    from target_iceberg.contracts import rekey as module  # noqa: PLC0415 - the other commands need none of it

    names = [name.strip() for name in keys.split(",") if name.strip()]
    removes = module.RowsToRemove(drop_null_keys, latest_by)
    with session.termination.held_back():
        report = module.Rekeying(session.table(stream), names, removes=removes).run(is_dry_run=dry_run)
    if wants_json:
        print_json(module.as_json(report))
    else:
        click.echo(REDACTOR.redact(module.as_text(report)))
    if not report.is_done and not dry_run:
        raise module.refusal(report)


@commands.command("rename-column")
@click.argument("stream")
@click.argument("old")
@click.argument("new")
@on_a_lake
def rename_column(session: Session, stream: str, *, old: str, new: str) -> None:
    """Rename the column OLD of STREAM's table to NEW.

    What the tap calls it does not change: its values go on into the renamed column.
    """
    from target_iceberg.contracts import renaming  # noqa: PLC0415 - the other commands need none of it

    table = session.table(stream)
    with session.termination.held_back():
        column = renaming.rename_column(table, old, new)
    click.echo(f"{'.'.join(table.name())}: the column '{column}' is called '{new}' now.")

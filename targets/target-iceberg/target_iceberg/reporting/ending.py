"""The end of a run, told: to people, to a file, to the table of runs, and to the command for failures."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

from icetap.errors import IcetapError
from icetap.secrets.redaction import REDACTOR
from target_iceberg.reporting import on_failure_command, report, run_log
from target_iceberg.signals import Terminated
from target_iceberg.tables.commit import new_run_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyiceberg.catalog import Catalog

LOGGER = logging.getLogger("target-iceberg")


def outcome_of(error: BaseException | None) -> str:
    """Return the word for how a run ended."""
    if error is None:
        return report.FINISHED
    return report.ENDED if isinstance(error, Terminated) else report.FAILED


def tell(
    summary: dict[str, Any],
    *,
    config: Mapping[str, Any],
    catalog: Catalog | None,
    error: BaseException | None,
) -> None:
    """Tell of a run's end wherever the settings say; none of it changes how the run ends.

    Args:
        summary: The run report.
        config: The loader's settings.
        catalog: Where the table of runs is; None when it could not be opened.
        error: What ended the run, None after success.
    """
    summary["error"] = None if error is None else _text_of(error)
    summary = _redacted(summary)
    sys.stderr.write(report.for_people(summary) + "\n")
    if path := config.get("report_path"):
        try:
            report.write(summary, path)
        except OSError as fault:
            LOGGER.warning("the report cannot be written to 'report_path' (%s)", fault.strerror)
    if config.get("run_log") and catalog is not None:
        try:
            run_log.append(catalog, summary)
        except Exception as fault:  # noqa: BLE001 - what a log cannot do must not decide about the run
            LOGGER.warning("the run is not in the table icetap.runs (%s)", type(fault).__name__)
    if summary["outcome"] == report.FAILED and (command := config.get("on_failure_command")):
        on_failure_command.run(command, summary, exit_code=getattr(error, "exit_code", 1))


def tell_of_no_start(config: Mapping[str, Any], *, pipeline: str, error: BaseException) -> None:
    """Tell of a run that failed before it had a catalog."""
    summary = report.as_json([], run_id=new_run_id(), pipeline=pipeline, seconds=0.0, outcome=report.FAILED)
    tell(summary, config=config, catalog=None, error=error)


def _text_of(error: BaseException) -> str:
    """Return an error's own words; of a bug its kind too."""
    is_told = isinstance(error, IcetapError | Terminated) and str(error)
    return str(error) if is_told else f"{type(error).__name__}: {error}"


def _redacted(value: Any) -> Any:
    if isinstance(value, str):
        return REDACTOR.redact(value)
    if isinstance(value, dict):
        return {name: _redacted(one) for name, one in value.items()}
    return [_redacted(one) for one in value] if isinstance(value, list) else value

"""What a command of the loader works on: its settings, its catalog, the tables that were loaded."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from singer_sdk.plugin_base import _ConfigInput

from icetap.errors import ConfigurationError
from icetap.settings import did_you_mean
from target_iceberg.tables.loaded_table import STREAM
from target_iceberg.upkeep import inspection

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table

    from target_iceberg.signals import Termination


@dataclass(frozen=True)
class Session:
    """An opened lake, and the way to end early without breaking a commit.

    Attributes:
        config: The loader's settings, checked.
        catalog: The catalog that they name.
        termination: Ends the process on SIGTERM and SIGINT, after the section that is held back.
    """

    config: Mapping[str, Any]
    catalog: Catalog
    termination: Termination

    def tables(self, patterns: Sequence[str] = ()) -> list[Table]:
        """Return the loaded tables whose stream, name, or namespace and name fits one of the patterns.

        Args:
            patterns: Names or globs; none means every table.

        Raises:
            ConfigurationError: When a pattern fits no table.
        """
        found = list(inspection.loaded_tables(self.catalog))
        if not patterns:
            return found
        for pattern in patterns:
            if not any(_fits(table, pattern) for table in found):
                known = sorted({table.properties[STREAM] for table in found})
                raise ConfigurationError(
                    f"no loaded table or stream fits '{pattern}'{did_you_mean(pattern, known) or '.'} "
                    f"There are: {', '.join(known) or 'none'}."
                )
        return [table for table in found if any(_fits(table, pattern) for pattern in patterns)]

    def table(self, stream: str) -> Table:
        """Return the one table of a stream.

        Raises:
            ConfigurationError: When there is none, or more than one.
        """
        found = self.tables([stream])
        if len(found) > 1:
            names = ", ".join(".".join(table.name()) for table in found)
            raise ConfigurationError(f"'{stream}' fits several tables: {names}. Name one of them in full.")
        return found[0]

    def pipeline(self, table: Table, named: str | None = None) -> str:
        """Return the pipeline whose bookmark in this table is meant: the one named, or the only one.

        Raises:
            ConfigurationError: When the table knows several, or not the one that is named.
        """
        known = inspection.pipelines_of(table)
        name = named or self.config.get("pipeline")
        if name is None and len(known) == 1:
            return known[0]
        where = ".".join(table.name())
        if name is None:
            raise ConfigurationError(
                f"table {where} has bookmarks of {len(known)} pipelines ({', '.join(known) or 'none'}). "
                "Name one with --pipeline."
            )
        if name not in known:
            raise ConfigurationError(
                f"table {where} has no bookmark of the pipeline '{name}'{did_you_mean(str(name), known) or '.'} "
                f"It has: {', '.join(known) or 'none'}."
            )
        return str(name)


def _fits(table: Table, pattern: str) -> bool:
    names = (table.properties[STREAM], table.name()[-1], ".".join(table.name()))
    return any(name == pattern or fnmatch.fnmatchcase(name, pattern) for name in names)


def open_session(config: Sequence[str]) -> Session:
    """Open the lake that the settings name.

    Args:
        config: Files with settings, or `ENV` for TARGET_ICEBERG_* variables; none means `ENV`.
    """
    from target_iceberg.target import TargetIceberg  # noqa: PLC0415 - which imports the commands

    given = _ConfigInput.from_cli_args(*(config or ("ENV",)))
    target = TargetIceberg(config=given.config, parse_env_config=given.parse_env)
    return Session(target.config, target.catalog, target.termination)

"""Whether every line of the setting `masks` names something: one that does not would hide nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from icetap.errors import ConfigurationError
from icetap.records.masks.plan import inner_fields
from icetap.records.masks.rules import Rule, fits_stream, is_pattern
from icetap.settings import did_you_mean
from icetap.types import kind_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pyarrow as pa

    from icetap.records.masks.rules import Masks


def refuse_unmatched(masks: Masks, streams: Mapping[str, pa.Schema]) -> None:
    """Refuse masks that match no stream or no column.

    Args:
        masks: The settings.
        streams: All streams of the source, selected or not, with all their columns.

    Raises:
        ConfigurationError: Naming the line, and what is nearest to it.
    """
    for rule in masks.rules:
        fitting = [name for name in streams if fits_stream(rule.stream, name)]
        if not fitting:
            near = did_you_mean(rule.stream, streams)
            raise ConfigurationError(
                f"setting 'masks' names the stream '{rule.stream}', which matches none{near or '.'} "
                f"There are: {', '.join(sorted(streams)) or 'none'}."
            )
        if not any(_matches(rule, streams[name]) for name in fitting):
            paths = [path for name in fitting for path, _ in _paths(streams[name])]
            near = did_you_mean(rule.column, paths)
            raise ConfigurationError(
                f"{rule.setting} matches no column{near or '.'} A mask that matches nothing hides nothing: "
                "correct the name, or take the line out."
            )


def _matches(rule: Rule, schema: pa.Schema) -> bool:
    for path, is_document in _paths(schema):
        if rule.fits(path):
            return True
        named = not is_pattern(rule.column) or rule.column.startswith((f"{path}.", f"{path}[]"))
        if is_document and named and rule.may_fit_inside(path):
            return True
    return False


def _paths(schema: pa.Schema) -> Iterator[tuple[str, bool]]:
    """Yield every column and part of one: its path, and whether it is a JSON document."""
    todo = [(column, column.name) for column in reversed(list(schema))]
    while todo:
        column, path = todo.pop()
        yield path, kind_of(column) == "json"
        todo += [(child, inner) for _, child, inner in inner_fields(column, path)]

"""Personal columns that the setting `masks` says nothing about: reported, or masked by default."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from icetap.errors import ConfigurationError
from icetap.records.masks.plan import inner_fields
from icetap.records.masks.rules import Mask, Rule
from icetap.records.personal.columns import Finding, find_personal
from icetap.records.personal.parts import parts

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    import pyarrow as pa

    from icetap.records.masks.rules import Masks

LOGGER = logging.getLogger("icetap.masks")
SAMPLE_ROWS = 200


def unmasked_personal(
    masks: Masks, schema: pa.Schema, *, stream: str, sample: pa.RecordBatch | None = None
) -> dict[str, Finding]:
    """Return what looks personal and has no rule, by path.

    Args:
        masks: The settings.
        schema: The columns.
        stream: The stream's name.
        sample: Rows of that schema; of many, the first ones are looked at. None looks at names alone.
    """
    rules = masks.of_stream(stream)
    rows = None if sample is None else sample.slice(0, SAMPLE_ROWS)
    found = {}
    for number, column in enumerate(schema):
        if any(rule.fits(column.name) for rule in rules):
            continue
        values = [] if rows is None else rows.column(number).to_pylist()
        for path, type_name, inner in _parts(column, values):
            finding = find_personal(path, type_name=type_name, stream=stream, values=inner)
            if finding is not None and not any(rule.fits(path) for rule in rules):
                found[path] = finding
    return found


def _parts(column: pa.Field, values: Sequence[Any]) -> Iterator[tuple[str, str, list[Any]]]:
    """Yield the parts that the values have, then those of the type, of which only the names are known."""
    seen = {column.name}
    for path, type_name, inner in parts(column.name, str(column.type), values):
        seen.add(path)
        yield path, type_name, inner
    todo = [(column, column.name)]
    while todo:
        field, path = todo.pop()
        inside = list(inner_fields(field, path))
        todo += [(child, child_path) for _, child, child_path in inside]
        if not inside and path not in seen:
            yield path, str(field.type), []


def default_rules(
    masks: Masks, paths: Collection[str], *, stream: str, keys: Sequence[str], cursor: str | None
) -> tuple[Rule, ...]:
    """Return the rules that `mask_new_personal_columns` makes for columns, weaker than all written ones.

    Raises:
        ConfigurationError: For a personal key that would be hashed, without a key for it.
    """
    if masks.new_personal is None:
        return ()
    personal_keys = [path for path in sorted(paths) if path in keys]
    if personal_keys and masks.key is None:
        raise ConfigurationError(
            f"stream '{stream}': the key column '{personal_keys[0]}' looks personal, and a key cannot be null as "
            "'mask_new_personal_columns: redact' would have it. Give it a mask: 'hash' (with 'mask_key'), or 'keep'."
        )
    return tuple(
        Rule(stream, path, Mask.HASH if path in keys else masks.new_personal, place, is_default=True)
        for place, path in enumerate(sorted(paths))
        if path != cursor
    )


def report(found: dict[str, Finding], masks: Masks, *, stream: str, are_masked: bool = True) -> None:
    """Say which columns look personal and have no mask of their own, and what has become of them.

    Args:
        found: The columns.
        masks: The settings.
        stream: The stream's name.
        are_masked: Whether `mask_new_personal_columns`, where it is set, has masked them.
    """
    if not found:
        return
    what = (
        f"masked with '{masks.new_personal}', as 'mask_new_personal_columns' says"
        if masks.new_personal is not None and are_masked
        else "not masked"
    )
    columns = ", ".join(f"{path} ({finding.kind})" for path, finding in sorted(found.items()))
    level = logging.WARNING if masks.is_given else logging.INFO
    LOGGER.log(
        level,
        "Stream %s: columns that look personal and that 'masks' does not name are %s: %s. "
        "`icetap pii` proposes masks; `keep` accepts a column",
        stream,
        what,
        columns,
    )

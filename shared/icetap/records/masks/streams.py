"""Masks on the streams of a tap: checked at the start, then applied to dict records and to the SCHEMA.

Streams of Arrow batches apply theirs themselves (`icetap.columnar.masking`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
from singer_sdk.helpers._catalog import get_selected_schema
from singer_sdk.mapper import RemoveRecordTransform

from icetap.errors import ConfigurationError
from icetap.records.masks.checking import refuse_unmatched
from icetap.records.masks.copies import copied_rules
from icetap.records.masks.dicts import JSON_TEXT, masked_jsonschema, masked_record
from icetap.records.masks.plan import Plan
from icetap.records.personal.unmasked import default_rules, report, unmasked_personal
from icetap.types import KIND, schema_from_singer

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from singer_sdk.helpers.types import Context
    from singer_sdk.mapper import StreamMap
    from singer_sdk.streams import Stream

    from icetap.records.masks.rules import Rule
    from icetap.records.personal import Finding
    from icetap.tap import IcetapTap


class MaskedMap:
    """A stream map whose records are masked before it sees them; everything else is the map's own."""

    def __init__(self, inner: StreamMap, plan: Plan, schema: pa.Schema) -> None:
        self._inner = inner
        self._plan = plan
        self._schema = schema

    def transform(self, record: Mapping[str, Any]) -> dict[str, Any] | None:
        """Mask a record, then map it."""
        return self._inner.transform(masked_record(record, self._plan, self._schema))

    def get_filter_result(self, record: Mapping[str, Any]) -> bool:
        """Say whether the map keeps a record, by what it would see of it."""
        return self._inner.get_filter_result(masked_record(record, self._plan, self._schema))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def mask_streams(tap: IcetapTap) -> dict[str, frozenset[str]]:
    """Check the masks of a tap against its streams, and let its dict streams and stream maps apply them.

    Return the columns of which something is masked, by stream.

    Raises:
        ConfigurationError: For a mask that matches nothing or does not fit its column.
    """
    if tap.masks.rules:
        refuse_unmatched(tap.masks, _known_streams(tap))
    masked = {}
    for stream in tap.streams.values():
        if not stream.selected:
            continue
        columns = stream_columns(stream.schema, keys=stream.primary_keys)
        personal = _without(copied_rules(tap, stream), tap.personal_by_name(stream))
        plan = stream_plan(tap, stream, columns, personal=personal)
        if not tap.masks_itself(stream) or not tap.masks.is_given:
            report(personal, tap.masks, stream=stream.name)
        if plan is None:
            continue
        masked[stream.name] = plan.names
        selected = get_selected_schema(stream.name, stream.schema, stream.mask)
        tap.mapper.register_raw_stream_schema(
            stream.name, masked_jsonschema(selected, plan), stream.primary_keys
        )
        if not tap.masks_itself(stream):
            if tap.config.get("batch_config"):
                raise ConfigurationError(
                    f"'masks' apply to stream '{stream.name}', and with 'batch_config' the SDK would write its records "
                    "into files past them. Remove 'batch_config': this tap's RECORD lines are masked."
                )
            _keep_out_of_state(stream, plan)
            _keep_out_of_log(stream)
            tap.mapper.stream_maps[stream.name] = [
                each if isinstance(each, RemoveRecordTransform) else _masked(each, plan, columns)
                for each in tap.mapper.stream_maps[stream.name]
            ]
    return masked


def _without(copied: Sequence[Rule], personal: Mapping[str, Finding]) -> dict[str, Finding]:
    """Return what looks personal and is no copy of what is masked."""
    return {
        path: finding for path, finding in personal.items() if not any(rule.fits(path) for rule in copied)
    }


def _keep_out_of_state(stream: Stream, plan: Plan) -> None:
    """Let a stream stop before a STATE would hold, as the context of a bookmark, what a mask hides."""
    partition_of = stream._get_state_partition_context  # noqa: SLF001 - the SDK has no public name for it

    def checked(context: Context | None) -> Context | None:
        partition = partition_of(context)
        hidden = sorted(plan.names & set(partition or ()))
        if hidden:
            raise ConfigurationError(
                f"stream '{stream.name}' keeps a bookmark for each '{hidden[0]}', which 'masks' hides: the state would "
                f"hold it. Except the column, '{hidden[0]}: keep', or deselect the stream."
            )
        return partition

    stream._get_state_partition_context = checked  # type: ignore[method-assign]  # noqa: SLF001


def _keep_out_of_log(stream: Stream) -> None:
    """Let the SDK's message about records out of order, which quotes the parent's values, say that and no more."""

    def told(*, record_count: int, **_: Any) -> None:
        stream.logger.error("Stream %s: record %d is out of order", stream.name, record_count)

    stream.state_manager.log_sort_error = told  # type: ignore[method-assign]


def _masked(inner: StreamMap, plan: Plan, columns: pa.Schema) -> Any:
    return MaskedMap(inner, plan, columns)


def stream_plan(
    tap: IcetapTap, stream: Stream, columns: pa.Schema, *, personal: Collection[str] | None = None
) -> Plan | None:
    """Return what happens to the columns of a stream, or None.

    Args:
        tap: The tap, whose masks these are.
        stream: The stream.
        columns: Its columns.
        personal: Paths that look personal and that no rule names; None looks for them by name, and reports them.

    Raises:
        ConfigurationError: For a mask that does not fit its column.
    """
    masks = tap.masks
    if not masks.is_given:
        return None
    copied = copied_rules(tap, stream)
    if personal is None:
        personal = _without(copied, unmasked_personal(masks, columns, stream=stream.name))
        report(personal, masks, stream=stream.name)
    keys = tuple(stream.primary_keys or ())
    cursor = stream.replication_key if stream.replication_method == "INCREMENTAL" else None
    defaults = (
        *copied,
        *default_rules(masks, personal, stream=stream.name, keys=keys, cursor=cursor),
    )
    return Plan.of(masks, columns, stream=stream.name, keys=keys, cursor=cursor, defaults=defaults)


def stream_columns(schema: Mapping[str, Any], *, keys: Sequence[str] | None = ()) -> pa.Schema:
    """Return the columns that a JSON Schema declares, with strings that hold JSON text known as such."""
    columns = schema_from_singer(schema, key_properties=tuple(keys or ()))
    properties = schema.get("properties", {})
    return pa.schema(
        column.with_metadata({KIND: b"json", JSON_TEXT: b"1"})
        if isinstance(properties[column.name], dict)
        and properties[column.name].get("contentMediaType") == "application/json"
        else column
        for column in columns
    )


def _known_streams(tap: IcetapTap) -> dict[str, pa.Schema]:
    """All streams with all columns: those that the catalog leaves out may not have been looked for."""
    known = {
        name: stream_columns(entry.schema.to_dict())
        for name, entry in (tap.input_catalog or {}).items()
        if name not in tap.streams
    }
    return known | {name: stream_columns(stream.schema) for name, stream in tap.streams.items()}

"""Records as RECORD lines: checked against the schema, which grows before the first record that needs it."""

from __future__ import annotations

import datetime as dt
import time
from typing import TYPE_CHECKING, Any

import msgspec
from singer_sdk.helpers._catalog import get_selected_schema
from singer_sdk.mapper import RemoveRecordTransform, SameRecordTransform

from icetap.columnar.json_text import quoted
from icetap.columnar.lines import MAX_LINE_BYTES
from icetap.errors import DataError
from icetap.records.masks.dicts import masked_jsonschema
from icetap.records.masks.streams import MaskedMap, stream_columns, stream_plan
from icetap.rest.inference import Fitness, pruned, widened

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from icetap.columnar.output import MessageWriter
    from icetap.rest.stream import RestStream

_encode = msgspec.json.Encoder(decimal_format="number").encode


class RecordOutput:
    """Writes one stream's SCHEMA and RECORD messages; holds one page of lines.

    SCHEMA is written once, before the first record, and again only when a record needs a column that is not there yet
    (`schema_policy: evolve`).
    """

    def __init__(self, stream: RestStream, messages: MessageWriter) -> None:
        self._stream = stream
        self._messages = messages
        self.records = 0
        self.rejected: dict[str, int] = {}
        self.discarded: dict[str, int] = {}
        self.added: dict[str, Any] = {}
        """Properties that this run has added or widened."""

        self._properties: dict[str, Any] = dict(stream.effective_schema.get("properties", {}))
        self._fitness = Fitness(self._properties)
        self._keys = tuple(stream.primary_keys or ())
        self._policy = stream.schema_policy or stream.options.get("schema_policy", "evolve")
        self._is_announced = False
        self._prepare()

    @property
    def properties(self) -> Mapping[str, Any]:
        """The columns as they are now."""
        return self._properties

    def _prepare(self) -> None:
        """Compile what each record needs: which fields are left out, and whether maps change it."""
        stream = self._stream
        schema = {**stream.effective_schema, "properties": self._properties}
        self._selected: dict[str, Any] = get_selected_schema(stream.name, schema, stream.mask)
        chosen = self._selected.get("properties", {})
        self._kept = None if set(chosen) == set(self._properties) else frozenset(chosen)
        self._has_inner_gaps = any(_is_narrower(chosen[name], self._properties[name]) for name in chosen)
        self._maps: Sequence[Any] = masked_maps(stream, schema)
        is_mapped = any(
            not isinstance(each, SameRecordTransform) or each.flattening_enabled for each in self._maps
        )
        if not is_mapped:
            self._maps = ()

    # --- SCHEMA -----------------------------------------------------------------------------------

    def announce(self) -> None:
        """Write SCHEMA, unless it was written as it is now; without any column yet there is nothing to say."""
        if self._is_announced or not self._properties:
            return
        self._is_announced = True
        if self._maps:
            for message in self._stream.mapped_schema_messages(self._maps):
                self._messages.write_message(message)
            return
        message = {
            "type": "SCHEMA",
            "stream": self._stream.name,
            "schema": self._selected,
            "key_properties": list(self._keys),
        }
        if self._stream.replication_key and self._stream.replication_method == "INCREMENTAL":
            message["bookmark_properties"] = [self._stream.replication_key]
        self._messages.write_message(message)

    def _grow(self, record: Mapping[str, Any]) -> dict[str, Any] | None:
        """Make room for a record that does not fit; None when it is left out."""
        names = self._fitness.misfits(record)
        unknown = [name for name in names if name not in self._properties]
        stream = self._stream
        if self._policy == "freeze":
            raise DataError(
                f"{stream.label}: the API sends {_listed(names)}, which the schema does not have or holds as "
                "another type. With 'schema_policy: evolve' the schema grows; 'discard' leaves unknown fields out."
            )
        if self._policy == "discard":
            for name in unknown:
                self.discarded[name] = self.discarded.get(name, 0) + 1
            kept = {name: value for name, value in record.items() if name not in unknown}
            if self._fitness.fits(kept):
                return kept
            misfits = [name for name in names if name not in unknown]
            return self._reject(f"{_listed(misfits)} of another type than its column's")
        changed = {name: record[name] for name in names}
        self._properties = widened(self._properties, changed)
        self.added |= {name: self._properties[name] for name in names}
        self._fitness = Fitness(self._properties)
        self._is_announced = False
        self._prepare()
        stream.logger.info("Stream %s: the schema now has room for %s", stream.name, ", ".join(sorted(names)))
        return dict(record)

    # --- RECORD -----------------------------------------------------------------------------------

    def write(self, records: Sequence[dict[str, Any]], *, version: int | None) -> int:
        """Write the RECORD lines of a page; return how many."""
        lines: list[bytes] = []
        now = dt.datetime.now(dt.UTC)
        opening, closing = self._frame(version, now)
        before = self.records
        for given in records:
            record = self._checked(given)
            if record is None:
                continue
            if not self._is_announced:
                self._flush(lines)
                self.announce()
            if self._maps:
                self._write_mapped(record, version, now)
                continue
            if self._kept is not None:
                record = {name: value for name, value in record.items() if name in self._kept}
            if self._has_inner_gaps:
                record = _within(record, self._selected["properties"])
            text = _encode(record)
            if len(text) > MAX_LINE_BYTES:
                self._reject("the record's line is longer than 50 MiB, Meltano's limit")
                continue
            lines += (opening, text, closing)
            self.records += 1
        self._flush(lines)
        return self.records - before

    def shown(self, record: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield a record as it would be written: in place of it what maps and masks make of it."""
        checked = self._checked(record)
        if checked is None:
            return
        kept = _within(checked, self._selected.get("properties", {}))
        if not self._maps:
            yield kept
        for stream_map in self._maps:
            mapped = stream_map.transform(dict(kept))
            if mapped is not None:
                yield mapped

    def _frame(self, version: int | None, now: dt.datetime) -> tuple[bytes, bytes]:
        opening = f'{{"type":"RECORD","stream":{quoted(self._stream.name)},"record":'
        numbered = "" if version is None else f',"version":{version}'
        closing = f'{numbered},"time_extracted":"{now:%Y-%m-%dT%H:%M:%S.%fZ}"}}\n'
        return opening.encode(), closing.encode()

    def _checked(self, record: dict[str, Any]) -> dict[str, Any] | None:
        for key in self._keys:
            if record.get(key) is None:
                return self._reject(f"the key '{key}' is missing or null")
        if self._fitness.fits(record):
            return record
        without_nulls = pruned(record, self._properties)
        if self._fitness.fits(without_nulls):
            return without_nulls
        grown = self._grow(without_nulls)
        return None if grown is None else pruned(grown, self._properties)

    def _write_mapped(self, record: dict[str, Any], version: int | None, now: dt.datetime) -> None:
        kept = _within(record, self._selected.get("properties", {}))
        for stream_map in self._maps:
            mapped = stream_map.transform(dict(kept))
            if mapped is not None:
                numbered = {} if version is None else {"version": version}
                self._messages.write_message(
                    {
                        "type": "RECORD",
                        "stream": stream_map.stream_alias,
                        "record": mapped,
                        **numbered,
                        "time_extracted": f"{now:%Y-%m-%dT%H:%M:%S.%fZ}",
                    }
                )
        self.records += 1

    def _flush(self, lines: list[bytes]) -> None:
        if lines:
            if self._messages.before_message is not None:
                self._messages.before_message()
            self._messages.lines.write(b"".join(lines))
            lines.clear()

    def _reject(self, reason: str) -> dict[str, Any] | None:
        """Count a record that is left out, or end the run, as `on_rejected` says."""
        if self._stream.config.get("on_rejected", "fail") != "skip":
            raise DataError(
                f"{self._stream.label}: a record does not fit: {reason}. Correct the stream's declaration, or "
                "leave such records out, counted, with 'on_rejected: skip'."
            )
        self.rejected[reason] = self.rejected.get(reason, 0) + 1
        return None

    def report(self, stream: RestStream) -> None:
        """Log what was read, and what was left out."""
        logger, name = stream.logger, stream.name
        seconds = time.monotonic() - stream.started_at
        logger.info(
            "Stream %s: %d records in %d requests, %.1f s", name, self.records, stream.requests, seconds
        )
        for reason, count in sorted(self.rejected.items()):
            logger.warning("Stream %s: %d records left out: %s", name, count, reason)
        for field, count in sorted(self.discarded.items()):
            logger.warning(
                "Stream %s: the field %s has no column and was discarded %d times", name, field, count
            )
        for reason, count in sorted(stream.skipped.items()):
            logger.warning("Stream %s: %d parts skipped: %s", name, count, reason)
        if stream.progress is not None and stream.progress.without_cursor:
            count = stream.progress.without_cursor
            logger.warning("Stream %s: %d records without '%s'", name, count, stream.replication_key)


def masked_maps(stream: RestStream, schema: Mapping[str, Any]) -> Sequence[Any]:
    """Return the stream maps of a schema, which see masked records where there are masks."""
    chosen = get_selected_schema(stream.name, dict(schema), stream.mask)
    columns = stream_columns(chosen, keys=stream.primary_keys)
    plan = stream_plan(stream.rest_tap, stream, columns)
    if plan is None:
        return stream.use_schema(chosen)
    return [
        each if isinstance(each, RemoveRecordTransform) else MaskedMap(each, plan, columns)
        for each in stream.use_schema(masked_jsonschema(chosen, plan))
    ]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in sorted(names))


def _is_narrower(chosen: Mapping[str, Any], whole: Mapping[str, Any]) -> bool:
    return chosen != whole


def _within(record: Mapping[str, Any], properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record without what its selected schema does not have, in nested objects too."""
    kept = {}
    for name, value in record.items():
        if name not in properties:
            continue
        inner = properties[name].get("properties") if isinstance(properties[name], dict) else None
        kept[name] = _within(value, inner) if inner and type(value) is dict else value
    return kept

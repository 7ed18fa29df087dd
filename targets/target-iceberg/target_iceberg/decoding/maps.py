"""The Singer SDK's stream maps and flattening: rows of streams that use them go through Python one by one."""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING, Any

from singer_sdk.mapper import PluginMapper, RemoveRecordTransform, StreamMap

from icetap.columnar.lines import record_lines
from icetap.errors import ConfigurationError
from target_iceberg.decoding.json_text import dump_json, parse_json
from target_iceberg.decoding.reader import Run

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

LOGGER = logging.getLogger("target-iceberg")


class StreamMaps:
    """Applies the settings `stream_maps` and `flattening_*`; does nothing when neither is set."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.is_used = bool(config.get("stream_maps") or config.get("flattening_enabled"))
        self._mapper = PluginMapper(plugin_config=dict(config), logger=LOGGER) if self.is_used else None

    def schema(self, message: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Return the SCHEMA message as mapped, None for a stream that is left out."""
        if self._mapper is None:
            return message
        stream = message["stream"]
        self._mapper.register_raw_stream_schema(stream, message["schema"], message.get("key_properties"))
        mapped = self._map_of(stream)
        if mapped is None or isinstance(mapped, RemoveRecordTransform):
            return None
        return {
            **message,
            "schema": mapped.transformed_schema,
            "key_properties": mapped.transformed_key_properties,
        }

    def applies_to(self, stream: str) -> bool:
        """Whether rows of this stream have to go through the maps."""
        return self._mapper is not None and stream in self._mapper.stream_maps

    def run(self, run: Run) -> Run:
        """Return the run with mapped records; filtered ones are gone."""
        mapped = self._map_of(run.stream)
        lines: list[str] = []
        for line in run.lines.splitlines():
            message = parse_json(line.decode())
            record = mapped.transform(message["record"]) if mapped else None
            if record is not None:
                lines.append(dump_json({**message, "record": record}))
        text = "".join(line + "\n" for line in lines).encode()
        return dataclasses.replace(run, lines=text, count=len(lines), segments=())

    def batch(self, stream: str, batch: pa.RecordBatch, *, version: int | None, line: int) -> Run:
        """Return rows of an Arrow file as a mapped run."""
        lines = b"".join(bytes(part) for part in record_lines(batch, stream=stream, version=version))
        return self.run(Run(stream, lines, batch.num_rows, line))

    def _map_of(self, stream: str) -> StreamMap | None:
        maps = self._mapper.stream_maps.get(stream, []) if self._mapper else []
        if len(maps) > 1 or any(one.stream_alias != stream for one in maps):
            raise ConfigurationError(
                f"setting 'stream_maps.{stream}' renames or copies the stream, which the loader does not do: "
                f"name its table with 'streams.{stream}.table_name', or map the stream in the tap"
            )
        return maps[0] if maps else None

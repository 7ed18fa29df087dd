"""Taps whose streams are the SDK's own, record by record: APIs, mostly."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from singer_sdk.exceptions import SingerSDKError
from typing_extensions import override

from icetap.errors import ConfigurationError, IcetapError, about_stream
from icetap.settings import did_you_mean
from icetap.tap import IcetapTap
from icetap.types import field_from_singer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pyarrow as pa
    from singer_sdk.streams import Stream


class RecordTap(IcetapTap):
    """Base of taps of dict records: test, preview and browse by what the streams say of themselves."""

    @override
    def test_findings(self) -> Iterator[tuple[bool, str]]:
        """Read one record of each selected stream; child streams are reached through their parents only."""
        for stream in self.streams.values():
            if not stream.selected or stream.parent_stream_type is not None:
                continue
            try:
                count = len(self._first_records(stream, 1))
            except (IcetapError, SingerSDKError) as error:
                yield False, about_stream(stream.name, str(error))
            else:
                yield True, f"stream {stream.name}: {'readable' if count else 'readable, and empty now'}"

    @override
    def preview(self, stream: str | None, *, sql: str | None, limit: int) -> dict[str, Any]:
        if stream is None or sql is not None:
            raise ConfigurationError(
                f"{self.name} has no --sql; name a stream. There are: {self._stream_names()}."
            )
        found = self._stream(stream)
        rows = self._first_records(found, limit + 1)
        return {
            "stream": found.name,
            "columns": _columns(found, found.stream_maps[0].transformed_schema),
            "rows": rows[:limit],
            "more": len(rows) > limit,
        }

    @override
    def browse(self, name: str | None) -> dict[str, Any]:
        streams = list(self.streams.values()) if name is None else [self._stream(name)]
        return {
            "source": self.name,
            "version": self.plugin_version,
            "tables": [
                {
                    "schema": None,
                    "name": stream.name,
                    "stream": stream.name,
                    "kind": "stream",
                    "estimated_rows": None,
                    "size_bytes": None,
                    "supported": True,
                    "columns": _columns(stream, stream.schema),
                }
                for stream in streams
            ],
        }

    def _stream(self, name: str) -> Stream:
        if name in self.streams:
            return self.streams[name]
        hint = did_you_mean(name, self.streams) or "."
        raise ConfigurationError(
            f"{self.name} has no stream '{name}'{hint} There are: {self._stream_names()}."
        )

    def _stream_names(self) -> str:
        return ", ".join(sorted(self.streams))

    def _first_records(self, stream: Stream, limit: int) -> list[dict[str, Any]]:
        """The first records as a run would emit them: processed, selected, mapped."""
        return list(islice(self._records(stream), limit))

    def _records(self, stream: Stream) -> Iterator[dict[str, Any]]:
        for partition in stream.partitions or [{}]:
            context = partition or None
            for found in stream.get_records(context):
                record = found[0] if isinstance(found, tuple) else found
                processed = stream.post_process(dict(record), context)
                if processed is None:
                    continue
                # The SDK's own last steps before a RECORD is written; there is no public name for them.
                for message in stream._generate_record_messages(processed):  # noqa: SLF001
                    yield message.record


def _columns(stream: Stream, schema: Mapping[str, Any]) -> list[dict[str, Any]]:
    keys = set(stream.primary_keys or ())
    fields: list[pa.Field] = [
        field_from_singer(name, declared) for name, declared in schema.get("properties", {}).items()
    ]
    return [
        {
            "name": field.name,
            "type": str(field.type),
            "native_type": None,
            "nullable": field.name not in keys,
            "key": field.name in keys,
        }
        for field in fields
    ]

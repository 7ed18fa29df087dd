"""The file of `--catalog`: checked before the SDK reads it, and completed by what people write into it by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from icetap.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHOICES = {"replication-method": "replication_method", "replication-key": "replication_key"}
"""A stream's metadata as Singer's documents have it, and the member of its entry that says the same.

https://github.com/singer-io/getting-started/blob/master/docs/DISCOVERY_MODE.md#metadata (read 2026-11-21)
"""


def checked_catalog(content: dict[str, Any]) -> dict[str, Any]:
    """Return a catalog in which a stream's own metadata counts.

    The SDK reads a chosen replication method from the entry alone; one in the metadata is copied there.

    Raises:
        ConfigurationError: Naming the place that is not as in a catalog of `--discover`.
    """
    streams = content.get("streams")
    if not isinstance(streams, list):
        raise _misshapen("'streams'", streams, "a list of streams")
    return {**content, "streams": [_checked_entry(entry, number) for number, entry in enumerate(streams, 1)]}


def _checked_entry(entry: Any, number: int) -> dict[str, Any]:
    where = f"stream {number}"
    if not isinstance(entry, dict):
        raise _misshapen(where, entry, "an object with a 'tap_stream_id'")
    if not isinstance(entry.get("tap_stream_id"), str):
        raise _misshapen(f"'tap_stream_id' of {where}", entry.get("tap_stream_id"), "the stream's name")
    where = f"stream '{entry['tap_stream_id']}'"
    if not isinstance(entry.get("schema", {}), dict):
        raise _misshapen(f"'schema' of {where}", entry["schema"], "a JSON Schema")
    root = {}
    for breadcrumb, metadata in _metadata(entry, where):
        if not breadcrumb:
            root = metadata
    chosen = {member: root[name] for name, member in _CHOICES.items() if root.get(name) is not None}
    return {**entry, **chosen}


def _metadata(entry: dict[str, Any], where: str) -> Iterator[tuple[list[Any], dict[str, Any]]]:
    found = entry.get("metadata") or []
    if not isinstance(found, list):
        raise _misshapen(f"'metadata' of {where}", found, "a list")
    for number, one in enumerate(found, 1):
        if not isinstance(one, dict) or not isinstance(one.get("breadcrumb"), list):
            raise _misshapen(
                f"metadata {number} of {where}", one, "an object with a list 'breadcrumb' and 'metadata'"
            )
        if not isinstance(one.get("metadata"), dict):
            raise _misshapen(f"'metadata' in metadata {number} of {where}", one.get("metadata"), "an object")
        yield one["breadcrumb"], one["metadata"]


def _misshapen(where: str, found: Any, expected: str) -> ConfigurationError:
    words = {dict: "an object", list: "a list", str: "a text", bool: "a boolean", type(None): "nothing"}
    return ConfigurationError(
        f"the file of --catalog: {where} is {words.get(type(found), 'a number')}; expected {expected}, "
        "as `--discover` prints it"
    )

"""What is known of a stream's columns before it is read: from a declaration, a catalog, or one page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from icetap.errors import ConfigurationError, IcetapError
from icetap.rest import dates
from icetap.rest.incremental import SYNC_TIME, Window
from icetap.rest.inference import infer, kinds_of, merged
from icetap.rest.parts import Part, RecordPage
from icetap.rest.templates import render
from icetap.settings import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from icetap.rest.stream import RestStream

SAMPLED_PARENTS = 3
"""How many parents are asked for children, until one has some."""


def known_properties(stream: RestStream) -> dict[str, Any]:
    """Return the columns of a stream: declared, or of the catalog, or of a sample; and what earlier runs have added."""
    if stream.properties is not None:
        found = _renamed(stream, stream.properties)
    elif (given := stream.input_properties) is not None:
        found = given
    else:
        found = infer(stream.renamed(_sample(stream)))
    for key, declared in _inherited(stream).items():
        if key not in stream.rules.drop:
            found.setdefault(stream.new_names.get(key, key), declared)
    if stream.replication_key == SYNC_TIME:
        found.setdefault(SYNC_TIME, {"type": ["string", "null"], "format": "date-time"})
    if not stream.is_inferred:
        return found
    found = merged(found, stream.bookmark().get("columns") or {})
    # A record without its key is refused, so no row of the table lacks it.
    return {name: _required(one) if name in stream.primary_keys else one for name, one in found.items()}


def _renamed(stream: RestStream, properties: Mapping[str, Any]) -> dict[str, Any]:
    new_names = stream.new_names
    if missing := sorted(set(new_names) - set(properties)):
        raise ConfigurationError(
            f"{stream.label}: option 'rename' names the field '{missing[0]}', which the schema does not have"
            f"{did_you_mean(missing[0], properties)}"
        )
    return {new_names.get(name, name): schema for name, schema in properties.items()}


def _sample(stream: RestStream) -> list[dict[str, Any]]:
    """Return a page of records; none where the stream alone cannot be read: that is for the run to say."""
    if stream.is_without_sample:
        return []
    try:
        return stream.first_page().records
    except IcetapError as error:
        stream.is_without_sample = True
        stream.rest_tap.refuse_if_all_fail(stream, error)
        stream.logger.warning("Stream %s has no columns yet: %s", stream.name, error)
        return []


def _inherited(stream: RestStream) -> dict[str, Any]:
    """Return the columns that parents and their parents hand down."""
    parent = stream.parent_stream
    if parent is None:
        return {}
    known = parent.schema.get("properties", {})
    own = {
        key: known.get(path.simple_name) or {"type": ["string", "null"]}
        for key, path in parent.context_paths.items()
    }
    return {**_inherited(parent), **own}


def _required(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a property's schema without null."""
    kinds = kinds_of(schema)
    return {**schema, "type": kinds[0] if len(kinds) == 1 else kinds} if kinds else schema


def asked_first_page(stream: RestStream) -> RecordPage:
    """Return the first page of the first partition, of the first parents that have any."""
    if stream.job is not None:
        return RecordPage([], contexts=[])  # a sample is not worth a job: columns come with the first records
    parent = stream.parent_stream
    contexts: list[Mapping[str, Any]] = [{}] if parent is None else list(parent.first_page().contexts or [])
    for context in contexts[:SAMPLED_PARENTS]:
        for partition in stream.partitions_of(context)[:1]:
            part = Part(Window(sampled_from(stream)), partition, context)
            page = next(iter(stream.pages_of(part)), RecordPage([]))
            if page.records:
                return page
    return RecordPage([], contexts=[])


def sampled_from(stream: RestStream) -> dates.Cursor | None:
    """Return from where on samples and previews ask: where a first run begins."""
    if stream.incremental is None:
        return None
    initial = render(stream.incremental.initial, {"config": stream.config})
    return None if initial is None else dates.from_bookmark(initial, stream.cursor_formats())


def lookback_of(stream: RestStream) -> int:
    """Return how far before its bookmark a stream asks: 0 without a key, since nothing would tell repeated records apart."""
    if not stream.primary_keys or stream.incremental is None:
        return 0
    given = stream.options.get("lookback_seconds")
    return int(stream.incremental.lookback_seconds if given is None else given)

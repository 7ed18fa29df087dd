"""Bulk operations: Shopify runs a query over everything and writes the result into a file of JSON lines.

https://shopify.dev/docs/api/usage/bulk-operations/queries, read 2026-11-21. An operation that fails may leave a part of
its file: only what is complete, by Shopify's own count of the lines, is read.
"""

from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import IO, TYPE_CHECKING, Any

import msgspec

from icetap.errors import DataError, IcetapError, RetriableError
from icetap.rest import NoAccessError, PassingFaultError, Request
from icetap.secrets.redaction import server_words
from tap_shopify import objects

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tap_shopify.stream import ShopifyStream

FIRST_DAY = datetime(2006, 1, 1, tzinfo=UTC)
"""Nothing in Shopify is older."""

SHORTEST_WINDOW = timedelta(hours=1)
BATCH = 500
LONGEST_POLL_SECONDS = 30.0
_DONE = "COMPLETED"
_FAILED = ("FAILED", "CANCELED", "EXPIRED")
_JSON = msgspec.json.Decoder()

_START = """mutation ($query: String!) { bulkOperationRunQuery(query: $query, groupObjects: true) {
 bulkOperation { id status } userErrors { field message code } } }"""
_STATE = """query ($id: ID!) { node(id: $id) { ... on BulkOperation {
 id status errorCode objectCount url partialDataUrl } } }"""
_CANCEL = "mutation ($id: ID!) { bulkOperationCancel(id: $id) { bulkOperation { id status } } }"
_NEWEST = "query { bulkOperations(first: 10, sortKey: CREATED_AT, reverse: true) { nodes { id query } } }"
_CURRENT = "query { currentBulkOperation { id query } }"
_LISTED_SINCE = "2026-01"
"""Since this version, several operations may run, and there is a list of them."""


class GivenUpError(RetriableError):
    """Shopify has given an operation up; a shorter window may do."""


class StuckError(RetriableError):
    """An operation goes on for ever."""


class _Patience:
    """Waits, each time longer, as long as something moves."""

    def __init__(self, stream: ShopifyStream) -> None:
        self._stream = stream
        self._attempt = 0
        self._seen: object = None
        self._until = 0.0

    def wait(self, seen: object, *, what: str) -> None:
        """Wait before the next look.

        Args:
            seen: What was seen; the time limit counts from when it was last something else.
            what: What is waited for, in a message.

        Raises:
            StuckError: When nothing has moved for `bulk_timeout_seconds`.
        """
        config, now = self._stream.config, time.monotonic()
        if seen != self._seen or not self._attempt:
            self._seen, self._until = seen, now + config["bulk_timeout_seconds"]
        if now >= self._until:
            raise StuckError(
                f"{self._stream.label}: {what} has not moved for {config['bulk_timeout_seconds']} s. Run again later, set "
                "'bulk_timeout_seconds' higher, or read by pages with 'bulk_operations: never'."
            )
        seconds = max(0.01, float(config["bulk_poll_seconds"]))
        self._stream.shop.pause(min(LONGEST_POLL_SECONDS, seconds * 1.5 ** min(self._attempt, 20)))
        self._attempt += 1


def result(stream: ShopifyStream, condition: str) -> IO[bytes] | None:
    """Run an operation; return its file, None when it has no rows.

    Raises:
        GivenUpError: When Shopify does not bring it to its end.
        PassingFaultError: When the file cannot be had whole.
    """
    # No order: together with a condition on `updated_at` Shopify leaves rows out without a word.
    given = f"(query: {msgspec.json.encode(condition).decode()})" if condition else ""
    selected = objects.selection(stream.object_name, in_bulk=True)
    query = f"{{ {stream.root}{given} {{ edges {{ node {{ {selected} }} }} }} }}"
    operation = _finished(stream, _started(stream, query))
    url, count = operation["url"], int(operation["objectCount"] or 0)
    if url is None:
        if count:
            raise GivenUpError(f"the bulk operation has {count} objects, and no file")
        return None
    return _downloaded(stream, url, count)


def _started(stream: ShopifyStream, query: str) -> str:
    """Start an operation, when other programs' ones leave room for it; theirs are never cancelled."""
    patience, faults = _Patience(stream), 0
    # A comment that no other operation has: by it, one is found again whose start was not answered.
    marked = f"# {uuid.uuid4().hex}\n{query}"
    while True:
        request = stream.shop.graphql(_START, query=marked)
        request.is_repeatable = False
        try:
            found = stream.ask(request).document["data"]["bulkOperationRunQuery"]
        except PassingFaultError as error:
            faults += 1
            if known := _with_query(stream, marked):
                return known
            if faults > int(stream.config["max_retries"]):
                raise
            patience.wait(faults, what=str(error))
            continue
        errors = found.get("userErrors") or []
        if not errors:
            return str(found["bulkOperation"]["id"])
        if not any(map(_is_busy, errors)):
            words = server_words(str(errors[0].get("message")))
            raise DataError(
                f"{stream.label}: Shopify refuses the bulk operation: {words} "
                "'bulk_operations: never' reads by pages instead."
            )
        stream.logger.info("Stream %s: waiting for another bulk operation of this app", stream.name)
        patience.wait("busy", what="another bulk operation of this app")


def _is_busy(error: Mapping[str, Any]) -> bool:
    known = error.get("code") in {"OPERATION_IN_PROGRESS", "LIMIT_REACHED"}
    return known or "already in progress" in error.get("message", "")


def _with_query(stream: ShopifyStream, query: str) -> str | None:
    """Return the id of the operation with exactly this query; None if it was not started, or nobody can say."""
    has_list = stream.config["api_version"] >= _LISTED_SINCE  # "unstable" too
    try:
        data = stream.ask(stream.shop.graphql(_NEWEST if has_list else _CURRENT)).document["data"]
    except IcetapError as error:
        stream.logger.warning(
            "Stream %s: whether the bulk operation runs is not known: %s", stream.name, error
        )
        return None
    found = data["bulkOperations"]["nodes"] if has_list else [data["currentBulkOperation"]]
    return next((str(one["id"]) for one in found if one and one["query"] == query), None)


def _finished(stream: ShopifyStream, operation_id: str) -> dict[str, Any]:
    """Wait for the end of an operation."""
    patience = _Patience(stream)
    while True:
        answer = stream.ask(stream.shop.graphql(_STATE, id=operation_id))
        found: dict[str, Any] | None = answer.document["data"]["node"]
        if found is None:
            raise GivenUpError("the bulk operation is gone")
        if found["status"] == _DONE:
            return found
        if found["errorCode"] == "ACCESS_DENIED":
            raise NoAccessError(
                f"{stream.label}: Shopify refuses the bulk operation. {stream.missing_right()}"
            )
        if found["status"] in _FAILED:
            code = found["errorCode"] or "no reason given"
            raise GivenUpError(f"the bulk operation has ended as {found['status']} ({code})")
        seen = found["status"], found["objectCount"]
        try:
            patience.wait(seen, what=f"the bulk operation, {seen[0]} with {seen[1]} objects,")
        except StuckError:
            _cancel(stream, operation_id)
            raise


def _cancel(stream: ShopifyStream, operation_id: str) -> None:
    """Cancel an operation of this run, which nobody waits for any more: it would be in the next run's way."""
    try:
        stream.ask(stream.shop.graphql(_CANCEL, id=operation_id))
    except IcetapError as error:
        stream.logger.warning("Stream %s: the bulk operation could not be cancelled: %s", stream.name, error)


def _downloaded(stream: ShopifyStream, url: str, count: int) -> IO[bytes]:
    """Return the file once it has as many lines as Shopify has written. Its host must not see the token."""
    request = Request(path=url, is_signed=False)
    lines = 0
    for _ in range(1 + int(stream.config["max_retries"])):
        stream.requests += 1
        file = stream.client.download(request)
        lines = sum(1 for line in file if line.startswith(b"{") and line.rstrip().endswith(b"}"))
        if lines == count:
            file.seek(0)
            return file
        file.close()
        stream.logger.warning("Stream %s: the file has %d of %d lines", stream.name, lines, count)
    raise PassingFaultError(
        f"{stream.label}: the file of the bulk operation has {lines} lines, and Shopify counts {count}. Run again later."
    )


def batches(type_name: str, file: IO[bytes] | None) -> Iterator[list[dict[str, Any]]]:
    """Yield objects with what belongs to them put together, 500 at a time; closes the file."""
    if file is None:
        return
    with file:
        found: list[dict[str, Any]] = []
        for node in _nodes(type_name, file):
            found.append(node)
            if len(found) == BATCH:
                yield found
                found = []
        yield found


def _nodes(type_name: str, file: IO[bytes]) -> Iterator[dict[str, Any]]:
    """Yield whole objects; holds one of them."""
    root: dict[str, Any] | None = None
    held: dict[str, tuple[str, dict[str, Any]]] = {}
    for line in file:
        node = _JSON.decode(line)
        parent = node.pop("__parentId", None)
        if parent is None:
            if root is not None:
                yield root
            root, held = node, {}
            inner = type_name
        else:
            if parent not in held:
                raise DataError(
                    "the file of a bulk operation has a part that does not follow what it belongs to. "
                    "'bulk_operations: never' reads by pages instead."
                )
            inner = _attached(node, *held[parent])
        for field in objects.connections(inner):
            node[field.name] = []
        if "id" in node:
            held[node["id"]] = (inner, node)
    if root is not None:
        yield root


def _attached(node: dict[str, Any], type_name: str, parent: dict[str, Any]) -> str:
    """Put a part into the list that it belongs to; return its type."""
    fields = objects.connections(type_name)
    if len(fields) > 1:
        kind = objects.kind_of(node["id"])
        fields = [field for field in fields if field.type_name.removesuffix("Ref") == kind]
    if len(fields) != 1:
        raise DataError(f"the file of a bulk operation has a part of {type_name} that nothing was asked of")
    parent[fields[0].name].append(node)
    return fields[0].type_name

"""What a stream of an API declares; `RestStream` is what reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from icetap.rest.answers import Format
from icetap.rest.records import RecordRules

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from icetap.rest.incremental import Incremental
    from icetap.rest.jobs import Job
    from icetap.rest.paging import Paging
    from icetap.rest.request import Body
    from icetap.rest.rules import ErrorRule


class Declaration:
    """Where a stream's records are, how they are asked for, and what happens to them."""

    path: ClassVar[str] = ""
    """Relative to the base URL. `{client_id}` is a value of the parent's `child_context`, or of `partition_by`."""

    method: ClassVar[str] = "GET"
    params: ClassVar[Mapping[str, Any]] = {}
    """Query parameters; values may be templates (`icetap.rest.templates`), and those without a value are left out."""

    headers: ClassVar[Mapping[str, Any]] = {}
    body: ClassVar[Body] = None
    """An object or list for JSON, `GraphQL(…)`, `Form(…)` or `Text(…)`."""

    format: ClassVar[Format] = Format()
    records_jsonpath: ClassVar[str] = "$"
    """Where an answer has the records."""

    paging: ClassVar[Paging | None] = None
    """None: one answer, and an error if it says that there is more."""

    incremental: ClassVar[Incremental | None] = None
    parent: ClassVar[str | None] = None
    """The name of the stream each of whose records this one is asked for."""

    child_context: ClassVar[Mapping[str, str]] = {}
    """What children may use of a record: name -> JSONPath. Becomes columns of theirs."""

    part_of_parent: ClassVar[str | None] = None
    """Where in a record of the parent's these records are (JSONPath `$.lines.data[*]`), for streams that take them from
    there: what `masks` hide there, they hide here."""

    filled_from: ClassVar[Mapping[str, str]] = {}
    """Columns that the stream's own code fills from other places of a record: name -> JSONPath. What `masks` hide there,
    they hide here."""

    follow_parent: ClassVar[bool] = False
    """Whether only children of parents that changed are read: when children change, their parent does."""

    bookmark_by_parent: ClassVar[bool] = False
    """Whether each parent and partition has a bookmark of its own, so that old records of a new one are read too. The
    state grows with them."""

    partition_by: ClassVar[Mapping[str, Any]] = {}
    """Reads the stream once for each value: name -> list, or a template of one."""

    properties: ClassVar[Mapping[str, Any] | None] = None
    """The columns as JSON Schema; None: inferred from a sample, and remembered in catalog and state."""

    convert: ClassVar[Mapping[str, str]] = {}
    """Fields to convert before anything else: name -> `timestamp`, `timestamp_ms`, `decimal` or a pattern of strftime."""

    schema_policy: ClassVar[str | None] = None
    """`evolve`, `freeze` or `discard`, when not what the setting says."""

    job: ClassVar[Job | None] = None
    """How the stream is read when its request only begins a job, such as a report or an export."""

    rules: ClassVar[RecordRules] = RecordRules()
    errors: ClassVar[Sequence[ErrorRule]] = ()
    """What certain answers mean to this stream, before the tap's own rules."""

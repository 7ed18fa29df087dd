"""What the loader relies on inside pyiceberg is as it was when it was looked at, and one module only relies on it."""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import inspect
from pathlib import Path

import pytest
from pyiceberg import manifest
from pyiceberg.table import Table, Transaction, snapshots
from pyiceberg.table.update.snapshot import _SnapshotProducer

import target_iceberg
from target_iceberg.tables import internals
from target_iceberg.tables.change import Change

ADVICE = (
    "pyiceberg has changed inside. Compare {what} with pyiceberg 0.12.0, mend target_iceberg/tables/internals.py if it is "
    "needed, run tests/test_position_deletes.py, test_fence.py and test_lost_answers.py, and only then write down "
    "here what is true now."
)

SIGNATURES = {
    "Transaction.__init__": (Transaction.__init__, "self, table, autocommit"),
    "Transaction._stage": (Transaction._stage, "self, updates, requirements"),
    "Table._do_commit": (Table._do_commit, "self, updates, requirements"),
    "_SnapshotProducer.__init__": (
        _SnapshotProducer.__init__,
        "self, operation, transaction, io, commit_uuid, snapshot_properties, branch",
    ),
    "_SnapshotProducer._commit": (_SnapshotProducer._commit, "self"),
    "_SnapshotProducer._manifests": (_SnapshotProducer._manifests, "self"),
    "_SnapshotProducer._existing_manifests": (_SnapshotProducer._existing_manifests, "self"),
    "_SnapshotProducer._deleted_entries": (_SnapshotProducer._deleted_entries, "self"),
    "_SnapshotProducer._summary": (_SnapshotProducer._summary, "self, snapshot_properties"),
    "_SnapshotProducer._clean_all_uncommitted": (_SnapshotProducer._clean_all_uncommitted, "self"),
    "_SnapshotProducer.spec": (_SnapshotProducer.spec, "self, spec_id"),
    "_SnapshotProducer.new_manifest_writer": (_SnapshotProducer.new_manifest_writer, "self, spec"),
    "_SnapshotProducer.new_manifest_output": (_SnapshotProducer.new_manifest_output, "self"),
    "ManifestWriterV2.__init__": (
        manifest.ManifestWriterV2.__init__,
        "self, spec, schema, output_file, snapshot_id, avro_compression",
    ),
    "ManifestWriterV2.content": (manifest.ManifestWriterV2.content, "self"),
    "ManifestWriterV2.add_entry": (manifest.ManifestWriterV2.add_entry, "self, entry"),
    "ManifestFile.fetch_manifest_entry": (
        manifest.ManifestFile.fetch_manifest_entry,
        "self, io, discard_deleted",
    ),
    "SnapshotSummaryCollector.add_file": (
        snapshots.SnapshotSummaryCollector.add_file,
        "self, data_file, schema, partition_spec",
    ),
    "SnapshotSummaryCollector.remove_file": (
        snapshots.SnapshotSummaryCollector.remove_file,
        "self, data_file, schema, partition_spec",
    ),
    "update_snapshot_summaries": (snapshots.update_snapshot_summaries, "summary, previous_summary"),
}

BODIES = {
    "_SnapshotProducer.__init__": (_SnapshotProducer.__init__, "b85227488415"),
    "_SnapshotProducer._commit": (_SnapshotProducer._commit, "c6fc9654eaee"),
    "Transaction.table_metadata": (Transaction.table_metadata.fget, "b17e042b477c"),
    "ManifestWriterV2._meta": (manifest.ManifestWriterV2._meta.fget, "9d4cb71586f9"),
    "ManifestWriterV2.prepare_entry": (manifest.ManifestWriterV2.prepare_entry, "d55aaf3b5c1d"),
}
"""Code around what is overridden: the first digits of its SHA-256."""


def test_the_version_is_the_one_that_was_looked_at():
    version = importlib.metadata.version("pyiceberg")
    assert version.startswith("0.12."), ADVICE.format(what="all that test_internals.py names")


@pytest.mark.parametrize("name", SIGNATURES)
def test_what_is_called_or_overridden_takes_the_same_arguments(name):
    function, expected = SIGNATURES[name]
    assert ", ".join(inspect.signature(function).parameters) == expected, ADVICE.format(what=name)


@pytest.mark.parametrize("name", BODIES)
def test_the_code_around_what_is_overridden_is_the_same(name):
    function, expected = BODIES[name]
    digest = hashlib.sha256(inspect.getsource(function).encode()).hexdigest()[:12]
    assert digest == expected, ADVICE.format(what=name)


def test_attributes_that_are_read_or_set_are_there(lake, singer):
    lake.ok(singer.schema(), singer.records([1]))
    table = lake.table()
    transaction = internals.Staging(table)
    producer = internals.LoadSnapshot(transaction, Change(parent=table.metadata.current_snapshot_id))
    for owner, names in {
        transaction: ("_table", "_updates", "_requirements"),
        producer: (
            "_transaction",
            "_io",
            "_operation",
            "_snapshot_id",
            "_parent_snapshot_id",
            "_compression",
        ),
    }.items():
        missing = [name for name in names if not hasattr(owner, name)]
        assert not missing, ADVICE.format(what=f"{type(owner).__mro__[1].__name__}.{missing}")
    data_file = manifest.DataFile()
    data_file.spec_id = 7
    assert data_file._spec_id == 7, ADVICE.format(what="DataFile.spec_id")


def test_no_other_module_reaches_into_pyiceberg():
    private = {
        name
        for owner in (Table, Transaction, _SnapshotProducer)
        for name in (*vars(owner), *getattr(owner, "__annotations__", ()))
        if name.startswith("_") and not name.startswith("__")
    } - {"_table", "_io", "_schema"}
    found = []
    for path in Path(target_iceberg.__path__[0]).rglob("*.py"):
        if path.name == "internals.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pyiceberg"):
                found += [f"{path.name}: {one.name}" for one in node.names if one.name.startswith("_")]
            # Names of one's own may be the same: they are reached through `self`.
            elif isinstance(node, ast.Attribute) and node.attr in private and not is_self(node.value):
                found.append(f"{path.name}: .{node.attr}")
    assert not found, "only target_iceberg/tables/internals.py may use what pyiceberg does not promise"


def is_self(node):
    return isinstance(node, ast.Name) and node.id in {"self", "cls"}

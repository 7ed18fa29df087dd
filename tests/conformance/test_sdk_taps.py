"""The Singer SDK's own tests of taps, over every tap found; each run is a process of its own, as in a pipeline."""

import atexit
import contextlib
import importlib
import shutil
import tempfile
from pathlib import Path
from unittest import mock

import pytest
from singer_sdk.testing import SuiteConfig, get_tap_test_class
from singer_sdk.testing.runners import TapTestRunner
from singer_sdk.testing.tap_tests import AttributeIsDateTimeTest, AttributeNotNullTest

from icetap.connectors import find_connectors
from icetap.testing.subject import Subject

ROOT = Path(__file__).resolve().parents[2]


@contextlib.contextmanager
def columns_of_any_type_left_out():
    """Neither dates nor never null: of a column `{}` the SDK's own questions raise ValueError or say that it is."""
    with contextlib.ExitStack() as patched:
        for test in (AttributeIsDateTimeTest, AttributeNotNullTest):
            patched.enter_context(mock.patch.object(test, "evaluate", asked_of_known_types(test.evaluate)))
        yield


def asked_of_known_types(ask):
    return lambda **asked: bool(asked["property_schema"]) and ask(**asked)


def made_tests(connector):
    """The SDK's tests of a tap, which are made when they are collected: so is the source."""
    workspace = Path(tempfile.mkdtemp(prefix="icetap-sdk-tests-"))
    atexit.register(shutil.rmtree, workspace, ignore_errors=True)
    subject = Subject(connector, workspace)
    module, _, attributes = connector.entry_point.partition(":")
    tap_class = getattr(importlib.import_module(module), attributes.partition(".")[0])
    empty = [name for name, rows in subject.sample.rows.items() if not rows]
    suite = SuiteConfig(ignore_no_records_for_streams=empty)
    with columns_of_any_type_left_out():
        made = get_tap_test_class(tap_class, config=dict(subject.sample.config), suite_config=suite)

    class ProcessRunner(TapTestRunner):
        """Runs the tap's command: the SDK's runner takes stdout away from a process that writes to it in blocks."""

        def _execute_sync(self):
            outcome = subject.run(config=self.config)
            assert outcome.exit_code == 0, outcome.stderr
            return outcome.stdout.decode(), outcome.stderr

    class SdkTests(made):
        @pytest.fixture(scope="class")
        @classmethod
        def runner(cls):
            process = ProcessRunner(tap_class=tap_class, config=dict(subject.sample.config))
            process.sync_all()
            return process

    return SdkTests


def sdk_suite(connector):
    """The SDK's tests, or one that is skipped because the server of the sample cannot be had here."""
    try:
        return made_tests(connector)
    except pytest.skip.Exception as unavailable:
        reason = str(unavailable)

    class Unavailable:
        @pytest.mark.skip(reason=reason)
        def test_the_sdk_s_own_tests(self):
            """Nothing to read from."""

    return Unavailable


for each in find_connectors(ROOT):
    if each.kind == "tap":
        globals()[f"Test{each.package.title().replace('_', '')}"] = sdk_suite(each)

"""The Singer SDK's own tests of taps, over every tap found; each run is a process of its own, as in a pipeline."""

import atexit
import importlib
import shutil
import tempfile
from pathlib import Path

import pytest
from singer_sdk.testing import get_tap_test_class
from singer_sdk.testing.runners import TapTestRunner

from icetap.connectors import find_connectors
from icetap.testing.subject import Subject

ROOT = Path(__file__).resolve().parents[2]


def sdk_tests_of(connector):
    """The SDK's tests of a tap, which are made when they are collected: so is the source."""
    workspace = Path(tempfile.mkdtemp(prefix="icetap-sdk-tests-"))
    atexit.register(shutil.rmtree, workspace, ignore_errors=True)
    subject = Subject(connector, workspace)
    module, _, attributes = connector.entry_point.partition(":")
    tap_class = getattr(importlib.import_module(module), attributes.partition(".")[0])
    made = get_tap_test_class(tap_class, config=dict(subject.sample.config))

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


def tests_of(connector):
    """The SDK's tests, or one that is skipped because the server of the sample cannot be had here."""
    try:
        return sdk_tests_of(connector)
    except pytest.skip.Exception as unavailable:
        reason = str(unavailable)
    except ValueError as refused:
        if "schema '{}'" not in str(refused):
            raise
        reason = f"the SDK's tests know no columns of any type: {refused}"

    class Unavailable:
        @pytest.mark.skip(reason=reason)
        def test_the_sdk_s_own_tests(self):
            """Nothing to read from."""

    return Unavailable


for each in find_connectors(ROOT):
    if each.kind == "tap":
        globals()[f"Test{each.package.title().replace('_', '')}"] = tests_of(each)

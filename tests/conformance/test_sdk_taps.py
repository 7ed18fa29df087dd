"""The Singer SDK's own tests of taps, over every tap found; the run is a process of its own, as in a pipeline."""

from pathlib import Path

import pytest
from singer_sdk.testing import SuiteConfig
from singer_sdk.testing.runners import TapTestRunner
from singer_sdk.testing.suites import tap_stream_attribute_tests, tap_stream_tests, tap_tests

from icetap.connectors import find_connectors
from icetap.testing.in_process import signals_kept

ROOT = Path(__file__).resolve().parents[2]
TAPS = {each.name: each for each in find_connectors(ROOT) if each.kind == "tap"}


class ProcessRunner(TapTestRunner):
    """Runs the tap's command: the SDK's runner takes stdout away from a process that writes to it in blocks."""

    def __init__(self, subject):
        super().__init__(subject.plugin_class, dict(subject.sample.config), parse_env_config=True)
        self._subject = subject

    def _execute_sync(self):
        outcome = self._subject.run(config=self.config)
        assert outcome.exit_code == 0, outcome.stderr
        return outcome.stdout.decode(), outcome.stderr


def sdk_tests(tap):
    """Each of the SDK's tests with what it is asked about: the tap, a stream, or a column."""
    for test in tap_tests.tests:
        yield test, {}
    for stream in tap.streams.values():
        for test in tap_stream_tests.tests:
            yield test, {"stream": stream}
        columns = stream.stream_maps[-1].transformed_schema["properties"]
        for name, schema in columns.items():
            # Of a column of any type, `{}`, the SDK's own questions raise ValueError or say that it is never null.
            for test in tap_stream_attribute_tests.tests if schema else ():
                if test.evaluate(stream=stream, property_name=name, property_schema=schema):
                    yield test, {"stream": stream, "attribute_name": name}


@pytest.mark.filterwarnings("ignore:Fields in transformed catalog", "ignore:No records were available")
@pytest.mark.parametrize("tap", TAPS.values(), ids=TAPS, indirect=True)
def test_the_sdk_s_own_tests_pass(tap, subtests):
    runner = ProcessRunner(tap)
    runner.sync_all()
    config = SuiteConfig(
        ignore_no_records_for_streams=[name for name, rows in tap.sample.rows.items() if not rows]
    )
    with signals_kept():
        asked = list(sdk_tests(runner.new_tap()))
        assert len(asked) > len(tap_tests.tests) + len(tap_stream_tests.tests)
        for test, about in asked:
            named = {name: getattr(value, "name", value) for name, value in about.items()}
            with subtests.test(test.name, **named):
                test().run(config=config, resource=None, runner=runner, **about)

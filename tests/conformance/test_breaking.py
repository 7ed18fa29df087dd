"""Each way of breaking a connector is found by the one test of the suite that is there for it."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from icetap.connectors import connector_named, find_connectors
from icetap.testing.checkouts import document, scaffolded
from icetap.testing.conformance import every, taps

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Break:
    """One change of a scaffolded tap, the test that must fail, and words of its finding."""

    file: str
    old: str
    new: str
    test: str
    finding: str
    also: tuple[str, str, str] | None = None
    """A second change: file, old, new."""


TOKEN = 'th.Property("api_token", th.StringType(nullable=True), title="Token", description="A token."{}),\n        '

BREAKS = {
    "the same record comes twice": Break(
        "streams.py",
        'yield from read_records(self.config.get("folder"), self.name)',
        'for record in read_records(self.config.get("folder"), self.name):\n            yield record\n            yield dict(record)',
        "test_keys_are_unique_and_present",
        "stream users: 2 keys (id) are on more than one record",
    ),
    "a key is null": Break(
        "streams.py",
        'yield from read_records(self.config.get("folder"), self.name)',
        'yield from ({**record, "id": None} for record in read_records(self.config.get("folder"), self.name))',
        "test_keys_are_unique_and_present",
        "lack a value of their key id",
    ),
    "a schema depends on the moment": Break(
        "streams.py",
        'description="Who asked; a key of `users`."',
        'description=str(__import__("time").time())',
        "test_discovery_is_stable",
        "two discoveries of one source differ",
    ),
    "records are logged": Break(
        "streams.py",
        'yield from read_records(self.config.get("folder"), self.name)',
        'for record in read_records(self.config.get("folder"), self.name):\n            self.logger.debug("Got %s", record)\n            yield record',
        "test_no_value_of_a_record_is_logged",
        "the log holds the canary as it is",
    ),
    "a print is left in": Break(
        "streams.py",
        'yield from read_records(self.config.get("folder"), self.name)',
        'print("reading", self.name)\n        yield from read_records(self.config.get("folder"), self.name)',
        "test_stdout_holds_only_singer_lines",
        "of stdout is not a Singer message",
    ),
    "a credential is not marked secret": Break(
        "tap.py",
        'th.Property(\n            "start_date"',
        TOKEN.format("") + 'th.Property(\n            "start_date"',
        "test_settings_can_be_understood_without_the_source",
        "api_token looks like a credential and is not marked secret",
    ),
    "a secret is written to stderr": Break(
        "tap.py",
        'th.Property(\n            "start_date"',
        TOKEN.format(", secret=True") + 'th.Property(\n            "start_date"',
        "test_no_secret_is_told",
        "the log holds the canary as it is",
        also=(
            "streams.py",
            '    """Base of all streams of this tap."""\n',
            """    \"\"\"Base.\"\"\"

    def __init__(self, tap):
        super().__init__(tap)
        __import__("sys").stderr.write(f"{self.config.get('api_token')}")
""",
        ),
    ),
    "a setting is not documented": Break(
        "tap.py",
        'th.Property(\n            "start_date"',
        TOKEN.format(", secret=True") + 'th.Property(\n            "start_date"',
        "test_the_readme_tells_every_setting",
        "README.md does not mention the setting api_token",
    ),
    "unknown settings are accepted": Break(
        "tap.py",
        "    @override\n    def discover_streams",
        "    @override\n    def _validate_config(self, *, raise_errors=True):\n"
        "        self._config = {name: value for name, value in self._config.items() if name in self.config_jsonschema['properties']}\n"
        "        return super()._validate_config(raise_errors=raise_errors)\n\n    @override\n    def discover_streams",
        "test_an_unknown_setting_is_refused_with_the_nearest_name",
        "an unknown setting ended with exit code 0",
    ),
    "a value has another type than declared": Break(
        "streams.py",
        'yield from read_records(self.config.get("folder"), self.name)',
        'yield from ({**record, "name": 7} for record in read_records(self.config.get("folder"), self.name))',
        "test_records_match_their_schema",
        "stream users: a value of name is not of the type that its SCHEMA says",
    ),
    "the bookmark is not used": Break(
        "streams.py",
        "if changed_after is None or",
        "if True or changed_after is None or",
        "test_second_run_emits_only_what_changed",
        "records came again although nothing had changed",
    ),
    "an import is not declared": Break(
        "client.py",
        "import json\n",
        "import json\n\nimport yaml  # noqa: F401\n",
        "test_only_declared_dependencies_are_imported",
        "imports yaml, which no declared dependency brings",
    ),
    "every error ends with exit code 1": Break(
        "tap.py",
        "    @override\n    def discover_streams",
        "    @classmethod\n    def invoke(cls, **options):\n        try:\n            super().invoke(**options)\n"
        "        except SystemExit as end:\n            raise SystemExit(1 if end.code else 0) from None\n\n"
        "    @override\n    def discover_streams",
        "test_settings_of_the_wrong_type_end_with_exit_code_2",
        "lists as folder ended with exit code 1",
    ),
    "SIGTERM is taken for success": Break(
        "tap.py",
        "    @override\n    def discover_streams",
        "    @override\n    def _handle_termination(self, signum, frame):\n        raise SystemExit(0)\n\n"
        "    @override\n    def discover_streams",
        "test_sigterm_ends_the_run_with_143_after_a_whole_line",
        "SIGTERM ended the run with exit code 0",
    ),
    "all records are held at once": Break(
        "streams.py",
        'yield from read_records(self.config.get("folder"), self.name)',
        'yield from [record | {"held": str(record).zfill(4000)} for record in read_records(self.config.get("folder"), self.name)]',
        "test_memory_is_flat",
        "rows took",
    ),
    "the last record is lost": Break(
        "client.py",
        'yield _record(line, f"{file}, line {number}")',
        'if number % 60:\n                yield _record(line, f"{file}, line {number}")',
        "test_every_record_of_the_source_arrives",
        "'tickets': 59",
    ),
    "the distribution's name is not told to the SDK": Break(
        "tap.py",
        '    package_name = "icetap-tap-help-desk"\n',
        "",
        "test_the_version_is_told",
        "could not be detected",
    ),
    "the run does not say where it starts": Break(
        "tap.py",
        "    @override\n    def discover_streams",
        "    @override\n    def write_state(self):\n        pass\n\n    @override\n    def discover_streams",
        "test_the_first_message_says_where_the_run_starts",
        "the first message is not a STATE",
    ),
    "a key names no column": Break(
        "streams.py",
        'name = "users"\n    primary_keys = ("id",)',
        'name = "users"\n    primary_keys = ("user_id",)',
        "test_the_catalog_is_sound",
        "stream users: key user_id is not a column",
    ),
    "the manifest has no page to read": Break(
        "../pyproject.toml",
        'docs = "https://hub.meltano.com/singer/spec"\n',
        "",
        "test_the_manifest_says_what_people_need",
        "[tool.icetap.connector] has no docs",
    ),
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_connector_fails_in_the_test_that_is_there_for_it(name, tmp_path):
    broken = BREAKS[name]
    subject = scaffolded(tmp_path)
    if broken.test == "test_the_readme_tells_every_setting":
        document(subject, ROOT / "docs" / "generator")
    change(subject, broken.file, broken.old, broken.new)
    if broken.also:
        change(subject, *broken.also)
    conforms = getattr(every, broken.test, None) or getattr(taps, broken.test)

    with pytest.raises(AssertionError) as caught:
        conforms(subject)

    assert broken.finding in str(caught.value)


def change(subject, file, old, new):
    """Change the first such place in a file of the tap; it must be there."""
    path = (subject.connector.folder / subject.connector.package / file).resolve()
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    subject.connector = connector_named(subject.connector.name, find_connectors(subject.connector.folder))

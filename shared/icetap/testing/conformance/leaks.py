"""What masks and references hide is nowhere: no byte that a tap writes or pipes holds it, however a run ends."""

from __future__ import annotations

import json
import os
import selectors
import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from icetap.secrets.keys import KEYS_VARIABLE, new_key
from icetap.secrets.redaction import Redactor
from icetap.secrets.store import STORE_VARIABLE, SecretStore
from icetap.testing.subject import CANARY, SECRET_CANARY, finish

if TYPE_CHECKING:
    from collections.abc import Iterator
    from subprocess import Popen

    from icetap.testing.samples import Sample
    from icetap.testing.subject import Outcome, Subject

PIPE_BYTES = 64 * 1024
MIN_LENGTH = 8  # of a credential that is looked for: shorter ones are words that may be anywhere


@dataclass
class Place:
    """Where a run may write: its temporary folder, its batch files, and the store of its secrets."""

    folder: Path
    credentials: dict[str, str] = field(default_factory=dict)
    """What must be nowhere, by the name of its setting."""

    seen: list[str] = field(default_factory=list, repr=False)
    """Command lines of the process, as `ps` shows them."""

    @property
    def environ(self) -> dict[str, str]:
        """Variables of the run: everything temporary in the folder, the secrets in a store of their own."""
        return {
            "TMPDIR": str(self.folder),
            "LOGLEVEL": "DEBUG",
            "PYTHONFAULTHANDLER": "1",
            KEYS_VARIABLE: os.environ[KEYS_VARIABLE],
            STORE_VARIABLE: str(self.folder / "store" / "secrets.json"),
        }

    def watch(self, process: Popen[bytes]) -> None:
        """Note the command line of a process again and again until it ends."""

        def look() -> None:
            while process.poll() is None:
                try:
                    self.seen.append(Path(f"/proc/{process.pid}/cmdline").read_text("utf-8", "replace"))
                except OSError:
                    return
                time.sleep(0.02)

        threading.Thread(target=look, daemon=True).start()

    def findings(self, outcome: Outcome, *, more: bytes = b"") -> Iterator[str]:
        """Yield where a canary of the data or of the credentials is found."""
        written = {str(path.relative_to(self.folder)): path.read_bytes() for path in _files(self.folder)}
        places = {
            "stdout": more + outcome.stdout,
            "the log": outcome.stderr.encode(),
            "ps": "\n".join(self.seen).encode(),
            **written,
        }
        for name, canary in {"the data": CANARY, **self.credentials}.items():
            redactor = Redactor()
            redactor.add(canary)
            for place, content in places.items():
                text = content.decode("utf-8", "replace")
                if redactor.redact(text) != text:
                    yield f"{place} holds the canary of {name}"


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def masked(tap: Subject) -> dict[str, dict[str, str]]:
    """Masks for every column of the sample that has the canary in it; each sample may name its streams anew."""
    found: dict[str, str] = {}
    for message in tap.first_run.messages:
        if message.get("type") == "RECORD":
            for name, value in message["record"].items():
                if CANARY in json.dumps(value, default=str):
                    found[name] = "hash" if isinstance(value, str) else "redact"
    assert found, "the sample has no canary in its records"
    return {"*": found}


def _place(tap: Subject) -> Place:
    os.environ.setdefault(KEYS_VARIABLE, new_key())
    return Place(tap.new_folder())


def _config(tap: Subject, sample: Sample, place: Place, *, lane: str) -> dict[str, Any]:
    """The sample's settings with masks and the lane; every secret is a reference to the place's store."""
    config = {**sample.config, "masks": masked(tap), "mask_key": SECRET_CANARY}
    if lane == "arrow":
        config["batch_config"] = {"encoding": {"format": "arrow"}}
    store = SecretStore(place.folder / "store" / "secrets.json")
    secret = {name for name, schema in tap.settings.items() if schema.get("secret")}
    secret |= {name for name, value in config.items() if value == SECRET_CANARY}
    others = json.dumps({name: value for name, value in config.items() if name not in secret})
    for name in secret & config.keys():
        value = config[name]
        if isinstance(value, str) and value:
            store.set(name, value)
            config[name] = f"secret://{name}"
            if len(value) >= MIN_LENGTH and value not in others:
                place.credentials[f"the setting {name}"] = value
    return config


def _lane(tap: Subject) -> str:
    """The Arrow lane where a tap has it: there are files then."""
    declared = json.dumps(tap.about["settings"]["properties"].get("batch_config", {}))
    return "arrow" if '"arrow"' in declared else "records"


def test_what_masks_and_references_hide_is_in_nothing_that_a_run_writes(tap: Subject) -> None:
    place = _place(tap)
    config = _config(tap, tap.sample, place, lane=_lane(tap))
    with tap.start(*tap.reading(tap.sample), config=config, environ=place.environ) as process:
        place.watch(process)
        outcome = finish(process)

    assert outcome.exit_code == 0, outcome.stderr[-2000:]
    assert [line for line in outcome.stdout.splitlines() if b'"RECORD"' in line or b'"BATCH"' in line]
    assert place.credentials
    assert list(place.findings(outcome)) == []


@pytest.mark.parametrize(
    "signum",
    [
        pytest.param(signal.SIGABRT, id="says-where-it-stands"),
        pytest.param(signal.SIGKILL, id="cleans-up-nothing", marks=pytest.mark.soak),
    ],
)
def test_a_run_that_is_killed_leaves_nothing_unmasked(tap: Subject, signum: signal.Signals) -> None:
    sample = tap.large_sample
    place = _place(tap)
    config = _config(tap, sample, place, lane=_lane(tap))
    with tap.start(*tap.reading(sample), config=config, environ=place.environ) as process:
        place.watch(process)
        head = _until_rows(process)
        process.send_signal(signum)
        outcome = finish(process)

    assert outcome.exit_code in {0, 128 + signum}, outcome.stderr[-2000:]
    assert list(place.findings(outcome, more=head)) == []


def _until_rows(process: Popen[bytes]) -> bytes:
    """Read records and log until the first rows have passed, or a file of them has been announced; return both."""
    assert process.stdout is not None
    assert process.stderr is not None
    passed = {process.stdout.fileno(): b"", process.stderr.fileno(): b""}
    records = process.stdout.fileno()
    # Both at once: a log at DEBUG fills its pipe before the first row has come.
    with selectors.DefaultSelector() as open_pipes:
        for pipe in passed:
            open_pipes.register(pipe, selectors.EVENT_READ)
        while records in open_pipes.get_map() and not any(
            kind in passed[records] for kind in (b'"RECORD"', b'"BATCH"')
        ):
            for ready, _ in open_pipes.select():
                more = os.read(ready.fd, PIPE_BYTES)
                passed[ready.fd] += more
                if not more:
                    open_pipes.unregister(ready.fd)
    return b"".join(passed.values())


def test_a_run_that_fails_tells_no_hidden_value(tap: Subject) -> None:
    """Its bookmarks are of another shape: it stops, or starts anew, and says so."""
    place = _place(tap)
    config = _config(tap, tap.sample, place, lane="records")
    broken = {
        "bookmarks": {
            stream: {"replication_key": "x", "replication_key_value": CANARY[:3]}
            for stream in tap.sample.rows
        }
    }

    with tap.start(*tap.reading(tap.sample, state=broken), config=config, environ=place.environ) as process:
        place.watch(process)
        outcome = finish(process)

    assert list(place.findings(outcome)) == []

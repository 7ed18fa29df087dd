"""A whole pipeline in a Meltano project: what masks and references hide is in no file of it and in no command line."""

import threading
import time
from pathlib import Path

import pytest

from icetap.records.masks.values import KeyedHash
from icetap.secrets.keys import KEYS_VARIABLE, new_key
from icetap.secrets.redaction import Redactor
from icetap.secrets.store import SecretStore

from . import lake
from .sources import execute

DATA = "canary-d4t4"
MASK_KEY, TOKEN = "m4sk-key/canary+1", "t0ken/canary+2 é"
ROWS = 3000
COLUMNS = "id INTEGER PRIMARY KEY, email TEXT NOT NULL, note TEXT, profile JSON, changed_at TIMESTAMP"


class Watch:
    """The command lines of all processes, as `ps` shows them, while the context is open."""

    def __init__(self):
        self.seen = set()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self):
        while not self._is_over.wait(0.05):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    self.seen.add(path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
                except OSError:
                    continue

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._is_over.set()
        self._thread.join()


@pytest.fixture
def sensitive(project, tmp_path, monkeypatch):
    """A project whose source has canaries in every personal column, and whose credentials are references."""
    database = tmp_path / "source" / "people.db"
    database.parent.mkdir()
    execute(
        database,
        f"CREATE TABLE people ({COLUMNS})",
        f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS}) "
        f"INSERT INTO people SELECT i, 'p' || i || '@{DATA}.example.com', '{DATA} ' || i, "
        f"json_object('phone', '{DATA}', 'n', i), datetime(1700000000 + i, 'unixepoch') FROM n",
    )
    monkeypatch.setenv(KEYS_VARIABLE, new_key())
    store = SecretStore(project.folder / ".icetap" / "secrets.json")
    store.set("mask-key", MASK_KEY)
    store.set("catalog/token", TOKEN)
    catalog = {
        "type": "sql",
        "uri": f"sqlite:///{project.warehouse}/catalog.db",
        "token": "secret://catalog/token",
    }
    project.warehouse.mkdir()
    return project.configure(
        tap={
            "database": str(database),
            "batch_size": 500,
            "mask_key": "secret://mask-key",
            "masks": {"people": {"email": "hash", "note": "redact", "profile.phone": "hash"}},
        },
        target={"catalog": {**catalog, "warehouse": f"file://{project.warehouse}"}, "compression": "none"},
    )


def leaks(folder, *texts):
    """Where a canary is: files below a folder, by name, and texts, by number."""
    contents = {
        str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }
    contents |= {f"text {number}": text.encode() for number, text in enumerate(texts)}
    redactor = Redactor()
    for canary in (DATA, MASK_KEY, TOKEN):
        redactor.add(canary)
    found = {name: content.decode("utf-8", "replace") for name, content in contents.items()}
    return [name for name, text in found.items() if redactor.redact(text) != text]


@pytest.mark.parametrize("tap", ["tap-sqlite-arrow", pytest.param("tap-sqlite", marks=pytest.mark.soak)])
def test_no_file_log_or_command_line_of_a_project_holds_what_is_hidden(sensitive, tap):
    temporary = sensitive.folder / "tmp"
    temporary.mkdir()
    environ = {"TMPDIR": str(temporary), "MELTANO_CLI_LOG_LEVEL": "debug"}
    with Watch() as watch:
        killed = sensitive.start("run", tap, "target-iceberg", **environ)
        batches = sensitive.folder / ".meltano" / "run"
        for _ in range(400):  # until the tap is at work, or at most 20 seconds
            if any(batches.rglob("*.arrow*")) or any(sensitive.warehouse.rglob("*.parquet")):
                break
            time.sleep(0.05)
        killed.kill()
        first, _ = killed.communicate(timeout=60)
        after_kill = leaks(sensitive.folder, first)
        said = sensitive.run(tap, "target-iceberg", "--force", **environ)

    assert after_kill == []
    assert leaks(sensitive.folder, said, *watch.seen) == []
    hashed = KeyedHash(MASK_KEY).text(f"p7@{DATA}.example.com".encode())
    rows = lake.query(
        sensitive.warehouse, "people", "SELECT count(*), count(note), max(email) FILTER (id = 7) FROM t"
    )
    assert rows == [(ROWS, 0, hashed)]

"""The store keeps secrets encrypted, whole and to their owner."""

import json
import multiprocessing
import os
import stat
import subprocess
import sys
import time

import pytest

from icetap.errors import ConfigurationError, RetriableError
from icetap.secrets import store as store_module
from icetap.secrets.keys import KEYS_FILE_VARIABLE, KEYS_VARIABLE, key_id, new_key
from icetap.secrets.store import SecretStore

OLD, NEW, OTHER = new_key(), new_key(), new_key()
VALUE = "correct horse battery staple"


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv(KEYS_VARIABLE, OLD)
    made = SecretStore(tmp_path / ".icetap" / "secrets.json")
    made.set("prod/password", VALUE)
    return made


def test_a_secret_comes_back_and_lies_encrypted(store):
    assert store.get("prod/password") == VALUE
    assert VALUE not in store.path.read_text()
    assert list(store.entries()) == ["prod/password"]
    assert store.entries()["prod/password"].key_id == key_id(OLD)


def test_what_a_killed_writer_left_goes_with_the_next_change(store):
    left = store.path.with_name(f".{store.path.name}.part")
    left.write_text("half of a st")

    store.set("prod/user", "reader")

    assert not left.exists()
    assert list(store.entries()) == ["prod/password", "prod/user"]


def test_everything_that_is_made_belongs_to_its_owner_alone(store):
    modes = {
        path: stat.S_IMODE(path.stat().st_mode) for path in [store.path.parent, *store.path.parent.iterdir()]
    }

    assert {path.name: oct(mode) for path, mode in modes.items() if mode & 0o077} == {}


def _keys(monkeypatch, *keys):
    monkeypatch.setenv(KEYS_VARIABLE, ",".join(keys))


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        pytest.param([], ["no encryption key", "icetap secrets new-key"], id="no-key"),
        pytest.param([OTHER], [key_id(OLD), key_id(OTHER), "Add that key"], id="wrong-key"),
        pytest.param(["nonsense"], ["key 1 of 1 is not a Fernet key"], id="not-a-key"),
    ],
)
def test_a_key_that_does_not_fit_is_told_apart(store, monkeypatch, keys, words):
    _keys(monkeypatch, *keys)

    with pytest.raises(ConfigurationError) as caught:
        store.get("prod/password")

    assert [word for word in words if word not in str(caught.value)] == []
    assert not any(key in str(caught.value) for key in keys)


def test_of_two_keys_the_first_encrypts_and_both_decrypt(store, monkeypatch):
    _keys(monkeypatch, NEW, OLD)
    store.set("other", "another value")

    assert store.get("prod/password") == VALUE
    assert {name: entry.key_id for name, entry in store.entries().items()} == {
        "other": key_id(NEW),
        "prod/password": key_id(OLD),
    }


def test_after_a_rotation_the_old_key_can_go(store, monkeypatch):
    _keys(monkeypatch, NEW, OLD)
    assert store.rotate() == 1
    _keys(monkeypatch, NEW)

    assert store.get("prod/password") == VALUE


def test_a_key_removed_too_early_loses_nothing(store, monkeypatch):
    before = store.path.read_bytes()
    _keys(monkeypatch, NEW)

    with pytest.raises(ConfigurationError, match=f"encrypted with key {key_id(OLD)}"):
        store.rotate()
    with pytest.raises(ConfigurationError, match="Add that key"):
        store.set("other", "value")

    assert store.path.read_bytes() == before
    _keys(monkeypatch, NEW, OLD)
    assert store.get("prod/password") == VALUE


def test_a_process_with_the_old_key_alone_cannot_write_after_a_rotation(store, monkeypatch):
    _keys(monkeypatch, NEW, OLD)
    store.rotate()
    _keys(monkeypatch, OLD)

    with pytest.raises(ConfigurationError, match=key_id(NEW)):
        store.set("other", "encrypted with a key that is about to go")


def test_a_corrupted_token_is_told_from_a_wrong_key(store):
    content = json.loads(store.path.read_text())
    token = content["secrets"]["prod/password"]["token"]
    content["secrets"]["prod/password"]["token"] = (
        token[:40] + ("A" if token[40] != "A" else "B") + token[41:]
    )
    store.path.write_text(json.dumps(content))

    with pytest.raises(ConfigurationError, match="damaged"):
        store.get("prod/password")
    assert [is_good for is_good, _ in store.findings()] == [True, False]


@pytest.mark.parametrize("text", ["{", "[]", "null", '{"format": 9}', '{"format": 1, "secrets": {"a": {}}}'])
def test_a_file_that_is_no_store_is_refused(store, text):
    store.path.write_text(text)

    with pytest.raises(ConfigurationError, match=str(store.path)):
        store.get("prod/password")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666], ids=oct)
def test_a_store_that_others_can_read_is_refused(store, mode):
    store.path.chmod(mode)

    with pytest.raises(ConfigurationError, match="chmod 600"):
        store.get("prod/password")


def test_a_lock_that_cannot_be_opened_is_told_with_its_place(store):
    lock = store.path.with_name("secrets.lock")
    lock.unlink()
    lock.symlink_to("/nowhere")

    with pytest.raises(ConfigurationError, match=r"secrets\.lock of the secrets store .* cannot be opened"):
        store.set("prod/password", "another")

    assert store.get("prod/password") == VALUE


def test_a_store_that_cannot_be_written_is_told_and_stays(store, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store_module, "_replace", full)

    with pytest.raises(
        ConfigurationError, match=r"cannot be written: No space left on device\. Nothing was changed"
    ):
        store.set("prod/password", "another")

    assert store.get("prod/password") == VALUE


def test_a_locked_store_is_waited_for_then_told(store, monkeypatch):
    monkeypatch.setattr(store_module, "LOCK_SECONDS", 0.1)
    with store._changing(), pytest.raises(RetriableError, match="locked by another process"):
        store.set("other", "value")

    assert store.get("prod/password") == VALUE, "readers take no lock"


def test_a_writer_that_is_killed_leaves_the_store_whole_and_unlocked(store):
    program = (
        "import os, sys, icetap.secrets.store as m\n"
        "m.os.fsync = lambda _: os.kill(os.getpid(), 9)\n"
        "m.SecretStore(m.Path(sys.argv[1])).set('other', 'half')\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(store.path)], check=False)

    assert done.returncode == -9
    store.set("third", "value")
    assert sorted(store.entries()) == ["prod/password", "third"]


def test_keys_may_come_from_a_file_that_changes_while_the_process_runs(store, monkeypatch, tmp_path):
    file = tmp_path / "keys"
    file.write_text(OLD + "\n")
    monkeypatch.delenv(KEYS_VARIABLE)
    monkeypatch.setenv(KEYS_FILE_VARIABLE, str(file))
    assert store.get("prod/password") == VALUE
    file.write_text(f"{NEW}\n{OLD}\n")
    store.rotate()
    file.write_text(NEW)

    assert store.get("prod/password") == VALUE


@pytest.mark.parametrize("name", ["", "/a", "a//b", "a b", "../x", "a/", "x" + chr(0)])
def test_a_name_is_plain(store, name):
    with pytest.raises(ConfigurationError, match="cannot name a secret"):
        store.set(name, "value")


def _read_until(path, *, keys, is_over, results):
    os.environ[KEYS_VARIABLE] = keys
    store, count, wrong = SecretStore(path), 0, 0
    while not is_over.is_set() or count == 0:
        count += 1
        wrong += store.get("prod/password") != VALUE
        time.sleep(0.01)  # fifty of them share a processor with the one that rotates
    results.put((count, wrong))


def test_fifty_processes_read_while_one_rotates(store, monkeypatch):
    context = multiprocessing.get_context("fork")
    results, is_over = context.SimpleQueue(), context.Event()
    options = {"keys": f"{NEW},{OLD}", "is_over": is_over, "results": results}
    readers = [context.Process(target=_read_until, args=(store.path,), kwargs=options) for _ in range(50)]
    for reader in readers:
        reader.start()
    for number in range(20):
        _keys(monkeypatch, *((NEW, OLD) if number % 2 == 0 else (OLD, NEW)))
        store.rotate()
    is_over.set()
    counted = [results.get() for _ in readers]
    for reader in readers:
        reader.join()

    assert [reader.exitcode for reader in readers] == [0] * 50
    assert sum(wrong for _, wrong in counted) == 0
    assert min(count for count, _ in counted) >= 1
    assert store.entries()["prod/password"].key_id == key_id(OLD)

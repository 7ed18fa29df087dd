"""The store of encrypted secrets: one JSON file under the project, each value a Fernet token.

Readers take no lock: the file is replaced as a whole. Writers take the lock, read, change, replace.
Format of tokens: https://github.com/fernet/spec/blob/master/Spec.md (read 2026-11-21).
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import json
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from icetap.errors import ConfigurationError
from icetap.secrets.keys import KEYS_VARIABLE, Keys, key_id, read_keys
from icetap.secrets.locking import locked
from icetap.secrets.redaction import REDACTOR
from icetap.settings import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator

STORE_FOLDER = ".icetap"
STORE_FILE = "secrets.json"
STORE_VARIABLE = "ICETAP_SECRETS_FILE"
LOCK_SECONDS = 30.0
EXCHANGE_SECONDS = 120.0
"""How long to wait while another process exchanges the same secret with its server."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]*(/[A-Za-z0-9][A-Za-z0-9._@-]*)*")
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Entry:
    """One secret as it is stored."""

    token: str = field(repr=False)
    changed_at: dt.datetime
    key_id: str
    """The key that encrypted it."""


@dataclass(frozen=True, slots=True)
class _Content:
    key_id: str | None
    """The first key when the store was last rotated or made."""

    entries: dict[str, Entry]


class SecretStore:
    """Reads and writes the store; holds no key and no value between calls.

    Args:
        path: The JSON file. It and its folder are made by the first `set`, for their owner alone.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    # --- reading ------------------------------------------------------------------------------------

    def get(self, name: str) -> str:
        """Return a secret's value, and keep it out of logs from now on.

        Raises:
            ConfigurationError: When there is no such secret, no key, a wrong one, or a damaged token.
        """
        entry = self._entry(self._read(), name)
        value = self._opened(name, entry, read_keys())
        REDACTOR.add(value)
        return value

    def entries(self) -> dict[str, Entry]:
        """Return all secrets by name, encrypted; needs no key."""
        return dict(sorted(self._read().entries.items()))

    def findings(self) -> Iterator[tuple[bool, str]]:
        """Yield one line per thing checked: whether it is good, and what a person should read."""
        if not self.path.exists():
            yield True, f"{self.path}: not there yet; `icetap secrets set NAME` makes it"
            return
        try:
            content = self._read()
            keys = read_keys()
        except ConfigurationError as error:
            yield False, str(error)
            return
        yield True, f"{self.path}: readable by its owner alone, {len(content.entries)} secrets"
        for name, entry in sorted(content.entries.items()):
            try:
                self._opened(name, entry, keys)
            except ConfigurationError as error:
                yield False, str(error)
                continue
            is_current = entry.key_id == keys.ids[0]
            advice = "" if is_current else f", not the first key {keys.ids[0]}: run `icetap secrets rotate`"
            yield True, f"{name}: opens with key {entry.key_id}{advice}"

    # --- writing ------------------------------------------------------------------------------------

    def set(self, name: str, value: str) -> None:
        """Encrypt and store a value, over an older one too.

        Raises:
            ConfigurationError: For a name of another form, an empty value, or without a fitting key.
        """
        if not NAME.fullmatch(name):
            raise ConfigurationError(
                f"'{name}' cannot name a secret: letters, digits and . _ @ - in parts between slashes, "
                "such as prod-postgres/password"
            )
        if not value:
            raise ConfigurationError(f"the value for secret '{name}' is empty; nothing was stored")
        REDACTOR.add(value)
        with self._changing() as content:
            keys = self._keys_for_writing(content)
            content.entries[name] = _sealed(value, keys)
            self._write(_Content(content.key_id or keys.ids[0], content.entries))

    def delete(self, name: str) -> None:
        """Remove a secret; needs no key.

        Raises:
            ConfigurationError: When there is none of that name.
        """
        with self._changing() as content:
            self._entry(content, name)
            del content.entries[name]
            self._write(_Content(content.key_id if content.entries else None, content.entries))

    def rotate(self) -> int:
        """Encrypt every secret anew with the first key; return how many there are.

        Raises:
            ConfigurationError: When one of them cannot be opened; then nothing is changed.
        """
        with self._changing() as content:
            keys = read_keys()
            rotated = {}
            for name, entry in content.entries.items():
                sealed = _sealed(self._opened(name, entry, keys), keys)
                rotated[name] = Entry(sealed.token, entry.changed_at, sealed.key_id)
            if self.path.exists():
                self._write(_Content(keys.ids[0], rotated))
            return len(rotated)

    @contextlib.contextmanager
    def exclusively(self, name: str) -> Iterator[None]:
        """Keep other processes from exchanging the same secret meanwhile; other secrets stay free.

        Raises:
            RetriableError: When another process does not finish its exchange.
        """
        digest = hashlib.sha256(name.encode()).hexdigest()[:16]
        self._make_folder()
        lock = self.path.with_name(f"{self.path.stem}-{digest}.lock")
        with locked(lock, what=f"secret '{name}'", timeout_seconds=EXCHANGE_SECONDS):
            yield

    def refuse_unwritable(self) -> None:
        """Find out before something cannot be undone whether a secret could be stored after it.

        Raises:
            ConfigurationError: When the keys do not fit, or the folder cannot be written.
        """
        with self._changing() as content:
            self._keys_for_writing(content)
            if not os.access(self.path.parent, os.W_OK | os.X_OK):
                raise ConfigurationError(
                    f"the folder {self.path.parent} of the secrets store cannot be written by this user"
                )

    # --- the file -----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _changing(self) -> Iterator[_Content]:
        self._make_folder()
        lock = self.path.with_name(self.path.stem + ".lock")
        with locked(lock, what=f"the secrets store {self.path}", timeout_seconds=LOCK_SECONDS):
            yield self._read()

    def _make_folder(self) -> None:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"the folder {self.path.parent} of the secrets store cannot be made: {error.strerror}"
            ) from None

    def _read(self) -> _Content:
        try:
            with self.path.open("rb") as file:
                self._refuse_readable_by_others(os.fstat(file.fileno()))
                parsed = json.loads(file.read())
        except FileNotFoundError:
            return _Content(None, {})
        except OSError as error:
            raise ConfigurationError(
                f"the secrets store {self.path} cannot be read: {error.strerror}"
            ) from None
        except ValueError:
            raise ConfigurationError(
                f"the secrets store {self.path} is not JSON: it was changed by something else. "
                "Restore it from a copy, or delete it and set the secrets again."
            ) from None
        return self._parsed(parsed)

    def _parsed(self, parsed: Any) -> _Content:
        try:
            if parsed["format"] != _FORMAT:
                raise ConfigurationError(
                    f"the secrets store {self.path} has format {parsed['format']}; this version of icetap "
                    f"reads {_FORMAT}. Update icetap."
                )
            entries = {
                str(name): Entry(
                    str(entry["token"]), dt.datetime.fromisoformat(entry["changed_at"]), str(entry["key_id"])
                )
                for name, entry in parsed["secrets"].items()
            }
        except (KeyError, TypeError, ValueError, AttributeError):
            raise ConfigurationError(
                f"the secrets store {self.path} does not have the form that icetap writes. "
                "Restore it from a copy, or delete it and set the secrets again."
            ) from None
        return _Content(parsed.get("key_id"), entries)

    def _refuse_readable_by_others(self, found: os.stat_result) -> None:
        mode = stat.S_IMODE(found.st_mode)
        if mode & 0o077:
            raise ConfigurationError(
                f"the secrets store {self.path} can be reached by other users (mode {mode:04o}). "
                f"Run `chmod 600 {self.path}`, and change the secrets if others have read it."
            )
        if found.st_uid not in {os.getuid(), 0}:
            raise ConfigurationError(f"the secrets store {self.path} belongs to another user")

    def _write(self, content: _Content) -> None:
        document = {
            "format": _FORMAT,
            "key_id": content.key_id,
            "secrets": {
                name: {
                    "token": entry.token,
                    "changed_at": entry.changed_at.isoformat(),
                    "key_id": entry.key_id,
                }
                for name, entry in sorted(content.entries.items())
            },
        }
        try:
            _replace(self.path, (json.dumps(document, indent=2) + "\n").encode())
        except OSError as error:
            raise ConfigurationError(
                f"the secrets store {self.path} cannot be written: {error.strerror}. Nothing was changed."
            ) from None

    # --- tokens -------------------------------------------------------------------------------------

    def _entry(self, content: _Content, name: str) -> Entry:
        if name in content.entries:
            return content.entries[name]
        raise ConfigurationError(
            f"there is no secret '{name}' in {self.path}{did_you_mean(name, content.entries) or '.'} "
            f"`icetap secrets set {name}` stores it."
        )

    def _opened(self, name: str, entry: Entry, keys: Keys) -> str:
        from cryptography.fernet import InvalidToken  # noqa: PLC0415

        try:
            return keys.fernet(entry.key_id).decrypt(entry.token).decode()
        except (InvalidToken, UnicodeError):
            pass
        if entry.key_id in keys.ids:
            raise ConfigurationError(
                f"secret '{name}' is damaged: its token is not as key {entry.key_id} wrote it. "
                f"Set it again with `icetap secrets set {name}`, or restore {self.path} from a copy."
            )
        raise ConfigurationError(
            f"secret '{name}' is encrypted with key {entry.key_id}, and {keys.source} holds "
            f"{', '.join(keys.ids)}. Add that key behind the first one (comma separated), then run "
            "`icetap secrets rotate`; only after that may it be removed."
        )

    def _keys_for_writing(self, content: _Content) -> Keys:
        """Refuse to write with a key that the store was rotated away from: the token would soon be lost."""
        keys = read_keys()
        if content.key_id is not None and content.key_id not in keys.ids:
            raise ConfigurationError(
                f"the secrets store {self.path} was encrypted with key {content.key_id}, which {KEYS_VARIABLE} "
                f"does not hold (it holds {', '.join(keys.ids)}). Add that key; a new key goes in front of it."
            )
        return keys


def open_store() -> SecretStore:
    """Return the store of the project around: `.icetap/secrets.json`, or what `ICETAP_SECRETS_FILE` names."""
    given = os.environ.get(STORE_VARIABLE)
    return SecretStore(Path(given) if given else project_folder() / STORE_FOLDER / STORE_FILE)


def project_folder() -> Path:
    """Return the Meltano project's root: as Meltano says, else the nearest folder upwards that has one."""
    if root := os.environ.get("MELTANO_PROJECT_ROOT"):
        return Path(root)
    here = Path.cwd()
    marks = ("meltano.yml", f"{STORE_FOLDER}/{STORE_FILE}")
    return next(
        (folder for folder in (here, *here.parents) if any((folder / mark).is_file() for mark in marks)), here
    )


def _sealed(value: str, keys: Keys) -> Entry:
    token = keys.fernet().encrypt(value.encode()).decode()
    return Entry(token, dt.datetime.now(dt.UTC).replace(microsecond=0), key_id(keys.texts[0]))


def _replace(path: Path, content: bytes) -> None:
    """Replace a file as a whole, durably: a reader sees the old one or the new one, whatever happens.

    Whoever calls holds the lock of the file, so that what is there under the partial file's name is of a killed process.
    """
    partial = path.with_name(f".{path.name}.part")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor has no path
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)

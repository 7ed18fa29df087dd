"""The keys of the secrets store: where they come from, and how one is told from another."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from icetap.errors import ConfigurationError
from icetap.secrets.redaction import REDACTOR

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cryptography.fernet import MultiFernet

KEYS_VARIABLE = "CONNECTOR_ENCRYPTION_KEY"
KEYS_FILE_VARIABLE = "CONNECTOR_ENCRYPTION_KEY_FILE"
KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Keys:
    """One or several Fernet keys; the first one encrypts, all of them decrypt."""

    texts: tuple[str, ...] = field(repr=False)
    source: str
    """The variable that named them."""

    @property
    def ids(self) -> tuple[str, ...]:
        """Each key's id, in their order."""
        return tuple(map(key_id, self.texts))

    def fernet(self, first: str | None = None) -> MultiFernet:
        """Return what encrypts with the first key, or with the one of that id, and decrypts with all."""
        # Only a run that has an encrypted secret pays for the import.
        from cryptography.fernet import Fernet, MultiFernet  # noqa: PLC0415

        ordered = sorted(self.texts, key=lambda text: key_id(text) != first) if first else self.texts
        return MultiFernet([Fernet(text) for text in ordered])

    def owner(self, token: str) -> str | None:
        """Return the id of the key that opens a token, or None when no key does."""
        from cryptography.fernet import Fernet, InvalidToken  # noqa: PLC0415

        for text in self.texts:
            try:
                Fernet(text).decrypt(token)
            except InvalidToken:
                continue
            return key_id(text)
        return None


def new_key() -> str:
    """Make a key: 32 random bytes, URL-safe base64."""
    return base64.urlsafe_b64encode(os.urandom(KEY_BYTES)).decode()


def key_id(key: str) -> str:
    """Return eight hexadecimal digits that name a key and say nothing about it: it is 32 random bytes."""
    return hashlib.sha256(b"icetap key id:" + key.encode()).hexdigest()[:8]


def read_keys(environ: Mapping[str, str] | None = None) -> Keys:
    """Read the keys from `CONNECTOR_ENCRYPTION_KEY`, or from the file that `…_FILE` names.

    The keys are comma separated (in a file also one a line), so that a file may get another key while
    runs go on: it is read again whenever a secret is.

    Raises:
        ConfigurationError: When there is no key, or one that is none; with the command that makes one.
    """
    variables = os.environ if environ is None else environ
    text, source = variables.get(KEYS_VARIABLE, ""), KEYS_VARIABLE
    if not text.strip() and (file := variables.get(KEYS_FILE_VARIABLE)):
        source = KEYS_FILE_VARIABLE
        try:
            text = Path(file).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise ConfigurationError(f"the file that {source} names cannot be read: {reason}") from None
    texts = tuple(part.strip() for part in text.replace("\n", ",").split(",") if part.strip())
    if not texts:
        raise ConfigurationError(
            f"no encryption key: set {KEYS_VARIABLE}, or {KEYS_FILE_VARIABLE} to a file that holds it. "
            "`icetap secrets new-key` makes one; keep it apart from the project."
        )
    for number, each in enumerate(texts, start=1):
        REDACTOR.add(each)
        if not _is_key(each):
            raise ConfigurationError(
                f"{source}: key {number} of {len(texts)} is not a Fernet key ({KEY_BYTES} bytes as URL-safe "
                f"base64, 44 characters; found {len(each)}). `icetap secrets new-key` makes one."
            )
    return Keys(texts, source)


def environment_without_keys() -> dict[str, str]:
    """Return this process's variables for a program of somebody else's, which has no need of the store's keys."""
    return {
        name: value for name, value in os.environ.items() if name not in {KEYS_VARIABLE, KEYS_FILE_VARIABLE}
    }


def _is_key(text: str) -> bool:
    try:
        return len(base64.urlsafe_b64decode(text.encode())) == KEY_BYTES
    except (ValueError, binascii.Error):
        return False

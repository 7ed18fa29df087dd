"""Credentials that change when they are used: OAuth refresh tokens that a server replaces."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from icetap.secrets.redaction import REDACTOR
from icetap.secrets.store import SecretStore, open_store

if TYPE_CHECKING:
    from collections.abc import Iterator

_SCHEME = "secret://"

ORIGINS: dict[str, str] = {}
"""Where resolved values came from: value -> reference. Filled by `icetap.secrets.references`."""


@dataclass(slots=True)
class Rotating:
    """A credential for one exchange with its server."""

    value: str = field(repr=False)
    """The newest value: another process may have replaced the one that this run began with."""

    _name: str | None = None
    _store: SecretStore | None = field(default=None, repr=False)

    def replace(self, new: str) -> bool:
        """Keep the server's replacement, before anything is done with what came along with it.

        Returns:
            Whether it is kept for the next run: false for a credential that does not come from the store.
        """
        REDACTOR.add(new)
        if new == self.value:
            return True
        self.value = new
        if self._store is None or self._name is None:
            return False
        self._store.set(self._name, new)
        ORIGINS[new] = _SCHEME + self._name
        return True


@contextlib.contextmanager
def exchanging(value: str) -> Iterator[Rotating]:
    """Hold a credential alone while it is exchanged.

    Two processes that use one refresh token at the same time would make each other's useless; so the
    value is read anew under the secret's own lock, and the lock is held until the replacement is
    stored.

    Args:
        value: The credential as this run has it.

    Raises:
        RetriableError: When another process does not finish its exchange.
        ConfigurationError: When the store cannot be read or written with this process's keys; raised
            before the exchange, while the old credential is still good.
    """
    reference = ORIGINS.get(value)
    if reference is None or not reference.startswith(_SCHEME):
        yield Rotating(value)
        return
    name = reference.removeprefix(_SCHEME)
    store = open_store()
    with store.exclusively(name):
        store.refuse_unwritable()
        yield Rotating(store.get(name), name, store)

"""Credentials that change when they are used: OAuth refresh tokens that a server replaces."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from icetap.secrets.redaction import REDACTOR
from icetap.secrets.store import SecretStore, open_store

if TYPE_CHECKING:
    from collections.abc import Iterator

LOGGER = logging.getLogger("icetap.secrets")
_SCHEME = "secret://"


@dataclass(slots=True)
class Rotating:
    """A credential for one exchange with its server."""

    value: str = field(repr=False)
    """The newest value: another process may have replaced the one that this run began with."""

    setting: str
    _name: str | None = None
    _store: SecretStore | None = field(default=None, repr=False)

    def replace(self, new: str) -> None:
        """Keep the server's replacement, before anything is done with what came along with it.

        A credential that is written in the configuration itself can only be kept for this run; a
        warning says so, with the way out.
        """
        REDACTOR.add(new)
        if new == self.value:
            return
        self.value = new
        if self._store is not None and self._name is not None:
            self._store.set(self._name, new)
            return
        LOGGER.warning(
            "The server has replaced the credential of setting '%s', and there is nowhere to keep the new one: "
            "the next run may be refused. Keep it in the secrets store: `icetap secrets set NAME`, then "
            "%s: secret://NAME",
            self.setting,
            self.setting,
        )


@contextlib.contextmanager
def exchanging(setting: str, *, value: str, reference: str | None) -> Iterator[Rotating]:
    """Hold a credential alone while it is exchanged.

    Two processes that use one refresh token at the same time would make each other's useless; so the
    value is read anew under the secret's own lock, and the lock is held until the replacement is
    stored.

    Args:
        setting: The setting's name.
        value: Its value as resolved at the start of the run.
        reference: The reference that it came from, None when it is written out.

    Raises:
        RetriableError: When another process does not finish its exchange.
        ConfigurationError: When the store cannot be read or written with this process's keys; raised
            before the exchange, while the old credential is still good.
    """
    if reference is None or not reference.startswith(_SCHEME):
        yield Rotating(value, setting)
        return
    name = reference.removeprefix(_SCHEME)
    store = open_store()
    with store.exclusively(name):
        store.refuse_unwritable()
        yield Rotating(store.get(name), setting, name, store)

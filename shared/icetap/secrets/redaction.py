"""One filter that keeps secrets out of logs, errors and tracebacks."""

from __future__ import annotations

import base64
import logging
import re
import sys
import threading
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, quote_plus, unquote, urlsplit

from typing_extensions import override

MASK = "***REDACTED***"
MIN_LENGTH = 4  # shorter texts would blank out ordinary words


class Redactor:
    """Knows the secrets of this process and replaces them in text."""

    def __init__(self) -> None:
        self._forms: list[str] = []
        self._lock = threading.Lock()

    def add(self, secret: str) -> None:
        """Remember a secret in its plain, percent-encoded and base64 forms."""
        if len(secret) < MIN_LENGTH:
            return
        encoded = base64.b64encode(secret.encode()).decode()
        forms = {secret, quote(secret, safe=""), quote_plus(secret), encoded}
        with self._lock:
            # The longest first, so that no form leaves the rest of a longer one behind.
            self._forms = sorted(forms.union(self._forms), key=len, reverse=True)

    def add_settings(self, config: Mapping[str, Any], jsonschema: Mapping[str, Any]) -> None:
        """Remember the value of every setting whose schema marks it `secret`."""
        for name, schema in jsonschema.get("properties", {}).items():
            value = config.get(name)
            if value is None:
                continue
            if schema.get("secret") or schema.get("writeOnly"):
                for text in _secrets(value):
                    self.add(text)
            elif isinstance(value, Mapping) and "properties" in schema:
                self.add_settings(value, schema)

    def redact(self, text: str) -> str:
        """Return the text with every known secret replaced."""
        for form in self._forms:
            if form in text:
                text = text.replace(form, MASK)
        return text


_CREDENTIAL = re.compile(r"passw|secret|token|key|credential|auth|signature", re.IGNORECASE)


def is_credential(name: str) -> bool:
    """Say whether a property's name sounds like a credential's."""
    return _CREDENTIAL.search(name) is not None


def _secrets(value: object) -> Iterable[str]:
    """Yield the texts to hide in a secret setting.

    Of an object with many properties, as a catalog has, these are the values that are credentials by
    their name and the passwords in addresses: hiding a `type: rest` would blank out ordinary words.
    """
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for child in value:
            yield from _secrets(child)
    elif isinstance(value, Mapping):
        for name, child in value.items():
            if not isinstance(child, str) or is_credential(name):
                yield from _secrets(child)
                if name == "credential" and isinstance(child, str):
                    # A client's id and its secret, as Iceberg's catalogs have them.
                    yield child.partition(":")[2]
            elif password := _password_in(child):
                yield password


def _password_in(address: str) -> str | None:
    try:
        password = urlsplit(address).password
    except ValueError:
        return None
    return unquote(password) if password else None


REDACTOR = Redactor()
"""The redactor of this process."""


class _RedactingFormatter(logging.Formatter):
    """Formats as another formatter does, then redacts: message, arguments and traceback alike."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    @override
    def format(self, record: logging.LogRecord) -> str:
        return REDACTOR.redact(self._inner.format(record))


def install() -> None:
    """Redact what every handler of this process writes, and uncaught tracebacks.

    Called after logging is configured; calling it again covers handlers that came since.
    """
    loggers = [logging.getLogger(), *map(logging.getLogger, logging.root.manager.loggerDict)]
    for logger in loggers:
        for handler in logger.handlers:
            if not isinstance(handler.formatter, _RedactingFormatter):
                handler.setFormatter(_RedactingFormatter(handler.formatter or logging.Formatter()))
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _excepthook


def _excepthook(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    import traceback  # noqa: PLC0415 - only a dying process needs it

    sys.stderr.write(REDACTOR.redact("".join(traceback.format_exception(kind, error, trace))))

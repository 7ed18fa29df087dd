"""One filter that keeps secrets out of logs, errors and tracebacks."""

from __future__ import annotations

import base64
import contextlib
import copy
import ctypes
import dataclasses
import json
import logging
import os
import re
import resource
import sys
import threading
import traceback
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, quote_plus, unquote, unquote_plus, urlsplit

from typing_extensions import override

from icetap.errors import IcetapError

MASK = "***REDACTED***"
MESSAGE_HIDDEN = "(its message is not shown: it may quote a value that 'masks' hides)"
WORDS_HIDDEN = (
    "(its words are not told: they may quote a value that 'masks' hides; its own log may have them)"
)
MIN_LENGTH = 4  # shorter texts would blank out ordinary words
MIN_LINE_LENGTH = 12  # of a line in a longer secret, such as a private key
MIN_BASE64_LENGTH = 6


class Redactor:
    """Knows the secrets of this process and replaces them in text."""

    def __init__(self) -> None:
        self.hides_values = False
        """Whether the data has masks: then the message of an unforeseen error, which may quote a value, is not told."""

        self._forms: tuple[str, ...] = ()
        self._lock = threading.Lock()

    def forget(self) -> None:
        """Know nothing any more: for processes that run one tap after the other, as tests do."""
        with self._lock:
            self._forms = ()
        self.hides_values = False

    def add(self, secret: str) -> None:
        """Remember a secret in all the forms that it may be written in.

        These are: as it is; percent-encoded; escaped as in JSON, in `repr` and in connection strings; base64, also as a part of a longer text
        (`user:password` of HTTP's Basic). Of an address, also its password; of a text of several lines, each line;
        of a JSON object, its credentials.
        """
        forms = {form for part in _parts(secret) if len(part) >= MIN_LENGTH for form in _forms(part)}
        if not forms:
            return
        with self._lock:
            # The longest first, so that no form leaves the rest of a longer one behind.
            self._forms = tuple(sorted(forms.union(self._forms), key=len, reverse=True))

    def add_settings(self, config: Mapping[str, Any], jsonschema: Mapping[str, Any]) -> None:
        """Remember the value of every setting whose schema marks it `secret`."""
        for name, schema in jsonschema.get("properties", {}).items():
            value = config.get(name)
            if value is None:
                continue
            if schema.get("secret") or schema.get("writeOnly"):
                # An object where a text belongs is about to be refused, and the refusal quotes it.
                is_misplaced = isinstance(value, Mapping) and "object" not in schema.get("type", "object")
                for text in _texts(value) if is_misplaced else _secrets(value):
                    self.add(text)
            elif isinstance(value, Mapping) and "properties" in schema:
                self.add_settings(value, schema)

    def redact(self, text: str) -> str:
        """Return the text with every known secret replaced."""
        for form in self._forms:
            if form in text:
                text = text.replace(form, MASK)
        return text


def _parts(secret: str) -> Iterable[str]:
    """Yield a secret and the parts of it that are secrets by themselves."""
    yield secret
    yield from _passwords_in(secret)
    lines = secret.splitlines()
    if len(lines) > 1:
        yield from (line for line in lines if len(line) >= MIN_LINE_LENGTH)
    if secret.lstrip().startswith("{"):
        with contextlib.suppress(ValueError, RecursionError):
            yield from _secrets(json.loads(secret))


def _forms(secret: str) -> Iterable[str]:
    yield secret
    for encoded in (quote(secret, safe=""), quote(secret), quote_plus(secret)):
        yield encoded
        yield _PERCENT.sub(lambda match: match[0].lower(), encoded)
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    yield repr(secret)[1:-1]
    for end in "}'\"":  # of a value in a connection string or in SQL: its end is written twice inside of it
        if end in secret:
            yield secret.replace(end, end * 2)
    data = secret.encode("utf-8", "surrogatepass")
    yield base64.b64encode(data).decode()
    for ahead in range(3):  # three bytes are four characters: what stands before decides how they fall
        padded = base64.b64encode(b"\0" * ahead + data).decode()
        begin = padded[(ahead * 8 + 5) // 6 :]
        end = begin.rstrip("=")
        whole = end if len(begin) == len(end) else end[:-1]
        for form in (begin, whole):
            if len(form) >= MIN_BASE64_LENGTH:
                yield form
                yield form.replace("+", "-").replace("/", "_")


_PR_SET_DUMPABLE = 4
_PERCENT = re.compile(r"%[0-9A-F]{2}")
_CREDENTIAL = re.compile(r"passw|secret|token|key|credential|auth|signature", re.IGNORECASE)


def is_credential(name: str) -> bool:
    """Say whether a property's name sounds like a credential's."""
    return _CREDENTIAL.search(name) is not None


def _texts(value: object) -> Iterable[str]:
    """Yield every text in a value."""
    children = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else None
    if children is None:
        yield from _secrets(value)
        return
    for child in children:
        yield from _texts(child)


def _secrets(value: object) -> Iterable[str]:
    """Yield the texts to hide in a secret setting.

    Of an object with many properties, as a catalog has, these are the values that are credentials by
    their name and the passwords in addresses: hiding a `type: rest` would blank out ordinary words.
    """
    if isinstance(value, str):
        yield value
    elif isinstance(value, int) and not isinstance(value, bool):
        yield str(value)
    elif isinstance(value, list):
        for child in value:
            yield from _secrets(child)
    elif isinstance(value, Mapping):
        for name, child in value.items():
            if not isinstance(child, str | int) or is_credential(name):
                yield from _secrets(child)
                if name == "credential" and isinstance(child, str):
                    # A client's id and its secret, as Iceberg's catalogs have them.
                    yield child.partition(":")[2]
            elif isinstance(child, str):
                yield from _passwords_in(child)


def _passwords_in(address: str) -> Iterable[str]:
    """Yield the passwords of an address as they are and as they are written in it.

    Of a URL: before the host, in the query. Of a text of keywords, as ODBC, ADO, JDBC and libpq have them: `PWD={a;b}}c}`.
    """
    if "://" in address:
        yield from _passwords_in_url(address)
    for keyword in _KEYWORD.finditer(address):
        if _PASSWORD.search(keyword["name"]) is None:
            continue
        for kind, (begin, end, written_end) in _QUOTES.items():
            if inside := keyword[kind]:
                yield begin + inside + end
                yield inside
                yield inside.replace(written_end, end).replace("\\\\", "\\")
        if plain := (keyword["plain"] or "").strip():
            yield plain


_KEYWORD = re.compile(
    r"""(?:^|[;\s?&])(?P<name>[A-Za-z][\w .-]*?)\s*=\s*
        (?:\{(?P<braces>(?:[^}]|\}\})*)\}
         | '(?P<single>(?:[^'\\]|\\.|'')*)'
         | "(?P<double>(?:[^"]|"")*)"
         | (?P<plain>[^;&]*?)(?=\s+\w+\s*=|[;&]|$))""",
    re.VERBOSE | re.DOTALL,
)
_PASSWORD = re.compile(r"^pwd$|passw|secret|token|key$|credential|signature", re.IGNORECASE)
_QUOTES = {"braces": ("{", "}", "}}"), "single": ("'", "'", "\\'"), "double": ('"', '"', '""')}
"""How a value is quoted, and how its end is written inside of it."""


def _passwords_in_url(address: str) -> Iterable[str]:
    try:
        parts = urlsplit(address)
    except ValueError:
        return
    asked = [pair.partition("=") for pair in parts.query.split("&")]
    for written in (parts.password, *(value for name, _, value in asked if is_credential(name))):
        if written:
            yield written
            yield unquote(written)
    for _, _, value in asked:
        if (inner := unquote_plus(value)) != value and "=" in inner:  # `odbc_connect` of SQLAlchemy
            yield from _passwords_in(inner)


REDACTOR = Redactor()
"""The redactor of this process."""


class _RedactingFormatter(logging.Formatter):
    """Formats as another formatter does, then redacts: message, arguments and traceback alike."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    @override
    def format(self, record: logging.LogRecord) -> str:
        return REDACTOR.redact(
            self._inner.format(_without_values(record) if REDACTOR.hides_values else record)
        )


def _without_values(record: logging.LogRecord) -> logging.LogRecord:
    """Return a log record without what may quote a value: contexts of records, and messages of foreign errors."""
    told = copy.copy(record)
    if isinstance(record.args, tuple):
        told.args = tuple(map(_shown, record.args))
    elif isinstance(record.args, Mapping):
        told.args = {name: _shown(value) for name, value in record.args.items()}
    error = record.exc_info[1] if record.exc_info else None
    if error is not None:
        told.exc_text = traceback_without_messages(error)
        told.exc_info = None
        told.msg, told.args = told.getMessage(), None
        for text in {str(error), *map(str, error.args)} - {""}:
            told.msg = told.msg.replace(text, MESSAGE_HIDDEN)
    return told


def _shown(argument: object) -> object:
    """Return an argument of a log message, with the names alone of what may be (of) a record."""
    if isinstance(argument, Mapping):
        return f"{{{', '.join(map(str, argument))}}}"
    if isinstance(argument, list | tuple):
        return type(argument)([_shown(each) for each in argument]) if type(argument) in {list, tuple} else ""
    if isinstance(argument, BaseException) and not isinstance(argument, IcetapError):
        return f"{type(argument).__qualname__}: {MESSAGE_HIDDEN}"
    tags = getattr(argument, "tags", None)  # a measurement of the SDK: of which parent's children, for one
    if isinstance(tags, Mapping) and dataclasses.is_dataclass(argument) and not isinstance(argument, type):
        return dataclasses.replace(argument, tags={name: _shown(value) for name, value in tags.items()})
    return argument


def server_words(text: str, made_of_names: Iterable[re.Pattern[str]] = ()) -> str:
    """Return a server's own words for an error, or a note in their place where masks hide values.

    Servers quote values: of a key that is there twice, of what cannot be converted, of whatever a function raises.

    Args:
        text: What the server said.
        made_of_names: Patterns of messages that hold nothing but names; one that fits all of a text lets it be told.
    """
    if not REDACTOR.hides_values or any(pattern.fullmatch(text) for pattern in made_of_names):
        return text
    return WORDS_HIDDEN


def hide_values() -> None:
    """Let nothing be told that may quote a value: the data has masks."""
    REDACTOR.hides_values = True
    # It tells the path of each request, in which a child stream has values of its parent; at WARNING, of repeated ones.
    logging.getLogger("urllib3").setLevel(logging.ERROR)


def install() -> None:
    """Redact what every handler of this process writes, and uncaught tracebacks.

    Called after logging is configured; calling it again covers handlers that came since. A process that crashes
    leaves no image of its memory behind.
    """
    _leave_no_core()
    loggers = [logging.getLogger(), *map(logging.getLogger, logging.root.manager.loggerDict)]
    handlers = {handler for logger in loggers for handler in logger.handlers}
    if logging.lastResort is not None:
        handlers.add(logging.lastResort)
    for handler in handlers:
        if not isinstance(handler.formatter, _RedactingFormatter):
            handler.setFormatter(_RedactingFormatter(handler.formatter or logging.Formatter()))
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _excepthook
    threading.excepthook = _thread_excepthook
    sys.unraisablehook = _unraisablehook


def _leave_no_core() -> None:
    """Let no image of this process's memory be written when it crashes, nor be read by others of the same user.

    A handler of core dumps may disregard the limit; a process that is not dumpable it never sees. `exec` ends that:
    children are dumpable. https://man7.org/linux/man-pages/man5/core.5.html (read 2026-11-21)
    """
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def traceback_without_messages(error: BaseException) -> str:
    """Return a traceback that names places and kinds of errors alone, the first cause first."""
    chain = [error]
    while (before := chain[-1].__cause__ or chain[-1].__context__) is not None and before not in chain:
        chain.append(before)
    parts = (
        "".join(traceback.format_tb(each.__traceback__)) + f"{type(each).__qualname__}: {_reason(each)}"
        for each in reversed(chain)
    )
    return "\n".join(parts)


def _reason(error: BaseException) -> str:
    """Return the operating system's words for its own errors, which quote nothing."""
    number = error.errno if isinstance(error, OSError) else None
    return MESSAGE_HIDDEN if number is None else os.strerror(number)


def _excepthook(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    if REDACTOR.hides_values:
        text = traceback_without_messages(error) + "\n"
    else:
        text = "".join(traceback.format_exception(kind, error, trace))
    sys.stderr.write(REDACTOR.redact(text))


def _thread_excepthook(told: threading.ExceptHookArgs) -> None:
    if told.exc_value is not None and told.exc_type is not SystemExit:
        _excepthook(told.exc_type, told.exc_value, told.exc_traceback)


def _unraisablehook(told: sys.UnraisableHookArgs) -> None:
    if told.exc_value is not None:
        _excepthook(told.exc_type, told.exc_value, told.exc_traceback)

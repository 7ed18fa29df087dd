"""Errors, grouped by what the caller should do.

IcetapError                 exit code 1
├── ConfigurationError      2   fail once and name the setting; nothing was read or written
├── RetriableError          1   the same call may succeed later: waited for and tried again
├── SkippableError          1   one part (a partition, a page) is left out, counted and reported
├── DataError               3   a value or a message does not fit: quarantine or fail, by contract
└── StateError              4   where the tap starts and where the table is do not fit together

Anything else that is raised is a bug and shows its traceback.

A message says where, what was found, what was expected and what to do next. It never holds a record,
a response body, a connection string or a credential.
"""

from __future__ import annotations


class IcetapError(Exception):
    """Root of all errors that a person can act on."""

    exit_code = 1


class ConfigurationError(IcetapError):
    """A setting is missing, unknown or contradicts another one."""

    exit_code = 2


class RetriableError(IcetapError):
    """A passing fault: a lock, a broken connection, a server that asks to wait."""


class SkippableError(IcetapError):
    """One part of a stream cannot be read; the rest can."""


class DataError(IcetapError):
    """A message or a value does not fit what was declared."""

    exit_code = 3


class StateError(IcetapError):
    """The tap's start and the table's bookmark do not fit together."""

    exit_code = 4


def about_stream(name: str, text: str, *, label: str | None = None) -> str:
    """Return a message that says which stream it is about: as it is where it does.

    Args:
        name: The stream; its name alone would not do, since a column may have it, too.
        text: The message.
        label: What says it, where that is more than `stream 'name'`.
    """
    label = label or f"stream '{name}'"
    return text if label in text else f"{label}: {text}"

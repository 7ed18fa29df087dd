"""Faults of disks, catalogs and networks, in words that say what to do next."""

from __future__ import annotations

import errno
import sqlite3
from typing import TYPE_CHECKING

from pyiceberg import exceptions as iceberg

from icetap.errors import ConfigurationError, IcetapError, RetriableError

if TYPE_CHECKING:
    from collections.abc import Iterator

_KEPT = "What was committed stays, and no STATE was printed for the rest: run the pipeline again when it is mended."
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_FORBIDDEN = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
_REFUSED = (iceberg.UnauthorizedError, iceberg.ForbiddenError, iceberg.AuthorizationExpiredError)
_PASSING = (
    iceberg.RESTError,
    iceberg.CommitStateUnknownException,
    iceberg.CommitFailedException,
    ConnectionError,
    TimeoutError,
)


def explained(error: BaseException) -> IcetapError | None:
    """Return a fault from outside in plain words; None when it is none, or explains itself already."""
    if isinstance(error, IcetapError) or not isinstance(error, Exception):
        return None
    for one in _causes(error):
        if (found := _explained(one)) is not None:
            return found
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: list[BaseException] = []
    one: BaseException | None = error
    while one is not None and one not in seen:
        seen.append(one)
        yield one
        one = getattr(one, "orig", None) or one.__cause__ or one.__context__


def _explained(error: BaseException) -> IcetapError | None:
    if isinstance(error, sqlite3.Error):
        return _of_sqlite(error)
    if isinstance(error, _REFUSED):
        return ConfigurationError(
            f"the catalog refused access ({type(error).__name__}). Check the credentials in setting 'catalog'."
        )
    if isinstance(error, _PASSING):
        return RetriableError(
            f"the catalog or the storage did not answer as expected ({type(error).__name__}). {_KEPT}"
        )
    if isinstance(error, OSError):
        return _of_storage(error)
    return None


def _of_sqlite(error: sqlite3.Error) -> IcetapError:
    text = str(error)
    if "locked" in text or "busy" in text:
        return RetriableError(f"the catalog's database is locked by another process ({text}). {_KEPT}")
    if "readonly" in text or "unable to open" in text:
        return ConfigurationError(
            f"the catalog's database cannot be written ({text}). Check the rights on the folder of setting 'warehouse'."
        )
    if "full" in text:
        return RetriableError(f"the disk of the catalog's database is full ({text}). {_KEPT}")
    return RetriableError(f"the catalog's database failed ({text}). {_KEPT}")


def _of_storage(error: OSError) -> IcetapError | None:
    where = f" ({error.filename})" if error.filename else ""
    number = error.errno
    if number in _FULL or "No space left" in str(error):
        return RetriableError(f"the disk is full{where}. {_KEPT}")
    if number in _FORBIDDEN or "Permission denied" in str(error) or "Read-only file system" in str(error):
        return ConfigurationError(
            f"the warehouse cannot be written{where}. Check the setting 'warehouse' and the rights on its folder. {_KEPT}"
        )
    if number == errno.ENOENT:
        return RetriableError(
            f"a file of the table is gone{where}. Something other than the loader has removed it; look at the warehouse."
        )
    return RetriableError(f"the storage failed ({error.strerror or type(error).__name__}){where}. {_KEPT}")

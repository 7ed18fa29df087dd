"""Faults of disks, catalogs, object stores and networks: which of them pass, and what to do about the others.

Statuses and their meaning for commits: the Iceberg REST specification
(https://github.com/apache/iceberg/blob/main/open-api/rest-catalog-open-api.yaml, read 2026-11-21).
Codes of PostgreSQL: https://www.postgresql.org/docs/current/errcodes-appendix.html.
"""

from __future__ import annotations

import errno
import re
import sqlite3
from typing import TYPE_CHECKING, Any

import requests
from pyiceberg import exceptions as iceberg

from icetap.errors import ConfigurationError, IcetapError, RetriableError
from icetap.waiting import asked_wait

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

_KEPT = "What was committed stays, and no STATE was printed for the rest: run the pipeline again when it is mended."
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_FORBIDDEN = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
_REFUSED = (iceberg.UnauthorizedError, iceberg.ForbiddenError, iceberg.AuthorizationExpiredError)
_PASSING_ANSWERS = (
    iceberg.ServiceUnavailableError,
    iceberg.TooManyRequestsError,
    iceberg.ServerError,
    iceberg.CommitStateUnknownException,
)
_CUT = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ContentDecodingError,
)
_NEVER_ANSWERS = (requests.exceptions.SSLError, requests.exceptions.InvalidURL)

# PostgreSQL: serialization, deadlock, lock, too many connections, shutdown and start, lost connection; and a
# catalog's tables that somebody else has made at this very moment.
_PASSING_SQL = re.compile(r"40001|40P01|55P03|53300|57P0[1-5]|08...|42P07|23505")
_SIGN_IN_SQL = re.compile(r"28...")
_SIGN_IN_TEXT = ("authentication failed", "no password supplied", "role", "pg_hba.conf")

# How Arrow tells an error of S3: "… AWS Error ACCESS_DENIED during PutObject operation: …", or the status alone.
_AWS = re.compile(r"AWS Error (\w+)")
_STATUS = re.compile(r"HTTP status (\d{3})")
_S3_NAME = re.compile(r"ExceptionName: (\w+)")
_S3_REFUSED = frozenset(
    [
        "ACCESS_DENIED",
        "INVALID_ACCESS_KEY_ID",
        "SIGNATURE_DOES_NOT_MATCH",
        "INVALID_CLIENT_TOKEN_ID",
        "MISSING_AUTHENTICATION_TOKEN",
        "INVALID_SIGNATURE",
        "INCOMPLETE_SIGNATURE",
        "UNRECOGNIZED_CLIENT",
        "X_ADMIN_USER_NOT_FOUND",  # versitygw 1.8
    ]
)
_S3_PASSING = frozenset(
    [
        "NETWORK_CONNECTION",
        "SLOW_DOWN",
        "SERVICE_UNAVAILABLE",
        "INTERNAL_FAILURE",
        "REQUEST_TIMEOUT",
        "THROTTLING",
        "REQUEST_EXPIRED",
    ]
)


# --- does it pass? --------------------------------------------------------------------------------


def is_passing(error: BaseException) -> bool:
    """Whether the same call may succeed a little later."""
    for one in _causes(error):
        if isinstance(one, IcetapError):
            return False
        if (found := _passes(one)) is not None:
            return found
    return False


def _passes(error: BaseException) -> bool | None:
    """Whether this one error passes; None when it does not say."""
    if isinstance(error, sqlite3.Error):
        return _is_locked(str(error)) or _was_just_made(str(error))
    if _is_of_database(error):
        return _database_passes(error)
    if isinstance(error, _PASSING_ANSWERS):
        return True
    if isinstance(error, _NEVER_ANSWERS) or _host_is_unknown(error):
        return False
    if isinstance(error, (*_CUT, ConnectionError, TimeoutError)):
        return True
    if isinstance(error, iceberg.RESTError):
        return False
    if isinstance(error, OSError) and (code := _of_s3(error)):
        return code in _S3_PASSING or code.startswith("5")
    return None


def _is_locked(text: str) -> bool:
    return "locked" in text or "busy" in text


def _was_just_made(text: str) -> bool:
    """Whether another process has made the catalog's tables, or a namespace, at this very moment."""
    return "already exists" in text or "UNIQUE constraint" in text


def _is_of_database(error: BaseException) -> bool:
    """Whether SQLAlchemy has raised it for a server's driver; known by its form, for its import takes time."""
    return hasattr(error, "connection_invalidated") and not isinstance(error.orig, sqlite3.Error)  # type: ignore[attr-defined]  # see above


def _database_passes(error: Any) -> bool:
    code = getattr(error.orig, "pgcode", None) or getattr(error.orig, "sqlstate", None)
    if code:
        return bool(_PASSING_SQL.fullmatch(code))
    text = str(error.orig)
    if any(word in text for word in _SIGN_IN_TEXT) or "does not exist" in text:
        return False
    return bool(error.connection_invalidated) or type(error).__name__ in {
        "OperationalError",
        "InterfaceError",
    }


def _host_is_unknown(error: BaseException) -> bool:
    text = str(error)
    return isinstance(error, requests.ConnectionError) and (
        "Name or service not known" in text or "nodename nor servname" in text
    )


def retry_after_seconds(error: BaseException, *, now: datetime | None = None) -> float | None:
    """Seconds that the server asked to wait with `Retry-After`; None when it did not."""
    for one in _causes(error):
        response = getattr(one, "response", None)
        value = response.headers.get("Retry-After") if response is not None else None
        if (seconds := asked_wait(value, now=now)) is not None:
            return seconds
    return None


def kind_of_fault(error: BaseException) -> str:
    """Name a fault for the log, without its own text, which may hold an address with a password."""
    for one in _causes(error):
        if isinstance(one, sqlite3.Error) and _is_locked(str(one)):
            return "the catalog's database is locked"
    names = [type(error).__name__]
    for one in _causes(error):
        status = getattr(getattr(one, "response", None), "status_code", None)
        if status:
            names.append(f"HTTP status {status}")
            break
    return ", ".join(names)


# --- what is to be done? --------------------------------------------------------------------------


def explained(error: BaseException) -> IcetapError | None:
    """Return a fault from outside in plain words; None when it is none, or explains itself already."""
    if isinstance(error, IcetapError) or not isinstance(error, Exception):
        return None
    for one in _causes(error):
        if isinstance(one, OSError) and (code := _of_s3(one)):
            return _explained_s3(code)
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
    if _is_of_database(error):
        return _of_database(error)
    if isinstance(error, iceberg.OAuthError):
        return ConfigurationError(
            "the token server of the catalog refused the client. Check 'credential' (or 'auth') in setting 'catalog'."
        )
    if isinstance(error, _REFUSED):
        return ConfigurationError(
            f"the catalog refused access ({type(error).__name__}). Check the credentials in setting 'catalog' "
            "('credential', 'token' or 'auth'), and what they may do."
        )
    if isinstance(error, requests.RequestException):
        return _of_request(error)
    if isinstance(error, (iceberg.RESTError, iceberg.CommitFailedException, ConnectionError, TimeoutError)):
        return RetriableError(
            f"the catalog or the storage did not answer as expected ({kind_of_fault(error)}). {_KEPT}"
        )
    if isinstance(error, OSError):
        return _of_storage(error)
    return None


def _of_request(error: requests.RequestException) -> IcetapError:
    if isinstance(error, _NEVER_ANSWERS) or _host_is_unknown(error):
        return ConfigurationError(
            f"the catalog's server cannot be reached ({type(error).__name__}: its name or its certificate is wrong). "
            "Check 'uri' in setting 'catalog'."
        )
    if isinstance(error, requests.Timeout):
        return RetriableError(
            f"the catalog's server did not answer in time ({type(error).__name__}). Its time is the setting "
            f"'timeout_seconds'. {_KEPT}"
        )
    return RetriableError(
        f"the connection to the catalog's server failed ({kind_of_fault(error)}). Check that it runs, and 'uri' in "
        f"setting 'catalog'. {_KEPT}"
    )


def _of_database(error: Any) -> IcetapError:
    code = getattr(error.orig, "pgcode", None) or getattr(error.orig, "sqlstate", None) or ""
    text = str(error.orig)
    if _SIGN_IN_SQL.fullmatch(code) or (not code and any(word in text for word in _SIGN_IN_TEXT)):
        return ConfigurationError(
            "the catalog's database refused the sign-in. Check user and password in 'uri' of setting 'catalog'."
        )
    if code == "3D000" or (not code and "does not exist" in text):
        return ConfigurationError(
            "the catalog's database does not exist on its server. Check its name in 'uri' of setting 'catalog'."
        )
    if code == "42501":
        return ConfigurationError(
            "the catalog's user may not read or write its tables. Grant it SELECT, INSERT, UPDATE and DELETE on "
            "iceberg_tables and iceberg_namespace_properties (CREATE on the schema for the first run)."
        )
    detail = f"{type(error).__name__}{f', code {code}' if code else ''}"
    return RetriableError(
        f"the catalog's database failed or cannot be reached ({detail}). Check that it runs, and 'uri' in setting "
        f"'catalog'. {_KEPT}"
    )


def _of_sqlite(error: sqlite3.Error) -> IcetapError:
    text = str(error)
    if _is_locked(text):
        return RetriableError(f"the catalog's database is locked by another process ({text}). {_KEPT}")
    if "readonly" in text or "unable to open" in text:
        return ConfigurationError(
            f"the catalog's database cannot be written ({text}). Check the rights on the folder of setting 'warehouse'."
        )
    if "full" in text:
        return RetriableError(f"the disk of the catalog's database is full ({text}). {_KEPT}")
    return RetriableError(f"the catalog's database failed ({text}). {_KEPT}")


def _of_s3(error: OSError) -> str | None:
    """The code of an S3 error as Arrow's file system tells it, a status where there is no name."""
    text = str(error)
    found = _AWS.search(text)
    if found is None:
        return None
    if found[1] != "UNKNOWN":
        return found[1]
    # The SDK knows the names of Amazon's own errors only.
    if (name := _S3_NAME.search(text)) and (
        known := re.sub(r"(?<=.)(?=[A-Z])", "_", name[1]).upper()
    ) in _S3_REFUSED:
        return known
    status = _STATUS.search(text)
    return status[1] if status else found[1]


def _explained_s3(code: str) -> IcetapError:
    if code in _S3_REFUSED or code in {"401", "403"}:
        return ConfigurationError(
            f"the object store refused access ({code}). Check 's3.access-key-id' and 's3.secret-access-key' in setting "
            f"'catalog', and what they may do in the bucket of 'warehouse'. {_KEPT}"
        )
    if code in {"NO_SUCH_BUCKET", "404"}:
        return ConfigurationError(
            f"the object store does not know the bucket ({code}). Check 'warehouse' and 's3.endpoint' in setting 'catalog'."
        )
    return RetriableError(
        f"the object store failed or cannot be reached ({code}). Check that it runs, and 's3.endpoint' in setting "
        f"'catalog'. {_KEPT}"
    )


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

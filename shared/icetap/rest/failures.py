"""What can go wrong between a tap and an API, by what the reader does about it; see `icetap.errors`."""

from __future__ import annotations

from icetap.errors import ConfigurationError, DataError, IcetapError, RetriableError, SkippableError


class NoAccessError(ConfigurationError):
    """These credentials may not read a stream (403): it is left out, and the run fails or not as `on_no_access` says."""


class CredentialsError(NoAccessError):
    """The API does not know these credentials (401), or signing in has failed: no stream can be read."""


class RefusedRequestError(IcetapError):
    """The API refuses this request (another 4xx): asking again would change nothing."""

    def __init__(self, message: str, *, status: int, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        """What the API itself calls the error, where its answer says so."""


class ForeignHostError(IcetapError):
    """A link or a redirect leads to a host that the credentials are not for."""


class PassingFaultError(RetriableError):
    """A broken connection, a cut or senseless answer, 429 or 5xx, for longer than the retries last."""

    def __init__(self, message: str, *, wait: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait
        """How many seconds the server asked to wait, if it did."""


class PatienceError(RetriableError):
    """The server asks for a longer wait than the tap is allowed; what was read is kept."""


class SkippedPartError(SkippableError):
    """One parent's or one partition's records cannot be read: counted, and reported at the end."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class UnreadableStreamError(DataError):
    """What the API sends is not what the stream declares: where its records are, their order, their times."""


class EndlessReadError(UnreadableStreamError):
    """The pages repeat themselves, or there are more of them than allowed."""

    exit_code = 1


class TruncatedReadError(UnreadableStreamError):
    """The answer says that there is more, and the stream has no way to ask for it."""

    exit_code = 1


def is_of_one_stream(error: IcetapError) -> bool:
    """Whether other streams may be readable all the same.

    Not where the credentials are refused, where the server asks to wait for too long, and where a setting decides that
    the run ends.
    """
    if isinstance(error, NoAccessError):
        return not isinstance(error, CredentialsError)
    if isinstance(error, RetriableError):
        return not isinstance(error, PatienceError)
    return isinstance(error, RefusedRequestError | ForeignHostError | UnreadableStreamError)

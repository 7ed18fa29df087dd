"""How often a request to an object store of the S3 kind is repeated."""

from __future__ import annotations

from pyarrow.fs import AwsDefaultS3RetryStrategy

ATTEMPTS = 9
"""Arrow's own three attempts end after 3 s; nine take 13 s when nobody answers, long enough for a server's restart."""


class PatientS3Retries(AwsDefaultS3RetryStrategy):  # type: ignore[misc]  # pyarrow has no types
    """Waits that double from 50 ms on; for what passes only: wrong keys are refused at once."""

    def __init__(self) -> None:
        super().__init__(max_attempts=ATTEMPTS)

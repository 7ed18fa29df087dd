"""Trying again after faults that pass: a lock, a broken connection, a server that asks to wait."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from icetap import faults
from icetap.waiting import growing_wait

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from pyiceberg.catalog import Catalog

LOGGER = logging.getLogger("icetap.catalogs")
DEFAULT_RETRIES = 5
RETRIES_PROPERTY = "icetap.max-retries"
LONGEST_ASKED_SECONDS = 120.0
"""A server may ask for more patience than we have by ourselves, up to this."""

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a call is repeated; the waits double, 0.5 to 30 seconds."""

    max_retries: int = DEFAULT_RETRIES

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Patience:
        """Read the setting `max_retries`."""
        given = settings.get("max_retries")
        return cls(DEFAULT_RETRIES if given is None else int(given))

    @classmethod
    def of(cls, catalog: Catalog) -> Patience:
        """Return what `icetap.catalogs.open_catalog` was told; the default for a catalog made elsewhere."""
        return cls(int(catalog.properties.get(RETRIES_PROPERTY, DEFAULT_RETRIES)))

    def wait(self, error: BaseException, *, attempt: int, what: str) -> None:
        """Wait before the next attempt, as long as the server asked for, and say so in the log.

        Args:
            error: Why the attempt failed.
            attempt: How many attempts have failed before this one.
            what: What was tried, for the log.
        """
        seconds = growing_wait(attempt)
        asked = faults.retry_after_seconds(error)
        if asked is not None:
            seconds = min(asked, LONGEST_ASKED_SECONDS)
        LOGGER.warning(
            "%s: %s; attempt %d of %d follows in %.1f s",
            what,
            faults.kind_of_fault(error),
            attempt + 2,
            self.max_retries + 1,
            seconds,
        )
        time.sleep(seconds)

    def call(self, action: Callable[[], Result], *, what: str) -> Result:
        """Call until it succeeds; only for actions that may be done twice.

        Raises:
            Exception: The action's own, when it does not pass or the retries are used up.
        """
        attempt = 0
        while True:
            try:
                return action()
            except Exception as error:
                if attempt >= self.max_retries or not faults.is_passing(error):
                    raise
                self.wait(error, attempt=attempt, what=what)
            attempt += 1

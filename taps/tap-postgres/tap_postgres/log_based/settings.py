"""The settings of LOG_BASED that only PostgreSQL has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

LOG_SETTINGS: dict[str, dict[str, Any]] = {
    "replication_slot_name": {
        "type": "string",
        "pattern": "^[a-z0-9_]{1,63}$",
        "default": "icetap",
        "title": "Replication slot",
        "description": "LOG_BASED: the slot that keeps the log for this pipeline. Each pipeline needs one of its own.",
    },
    "publication_name": {
        "type": "string",
        "minLength": 1,
        "maxLength": 63,
        "default": "icetap",
        "title": "Publication",
        "description": "LOG_BASED: the publication that names the tables whose changes are sent.",
    },
    "create_replication": {
        "type": "boolean",
        "default": True,
        "title": "Make slot and publication",
        "description": "LOG_BASED: makes the slot and the publication, and adds selected tables to it, where they are "
        "not there. Otherwise a run says what a DBA has to run.",
    },
}


@dataclass(frozen=True, slots=True)
class LogSettings:
    """Names of slot and publication, and whether to make them."""

    slot: str
    publication: str
    creates: bool

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> LogSettings:
        """Read the settings."""
        return cls(config["replication_slot_name"], config["publication_name"], config["create_replication"])

"""A connector to start from."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from icetap.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")

_TEXT = """\
version: 1
id: {name}                            # becomes tap-{name}
name: {title}
base_url: https://api.example.com/v1

parameters:                           # what a person fills in: settings of the tap
  api_key:    {{title: API key, required: true, secret: true, help: "Where a person finds it"}}
  start_date: {{format: date-time, help: "The oldest data to read"}}

auth: {{type: bearer, token: "{{config.api_key}}"}}       # api_key, basic, headers, oauth2, session

streams:
  items:
    primary_key: id
    request: {{path: /items}}
    response: {{records: "$.data[*]"}}  # where an answer has the records
    pagination:                       # none, page, offset, cursor, link
      type: page
      page: {{in: query, name: page, start: 1}}
      size: {{in: query, name: per_page, value: 100}}
    incremental:
      replication_key: updated_at
      start: {{in: query, name: updated_since, format: iso8601}}
    schema: infer                     # or {{file: schemas/items.json}}, which `tap-rest infer` writes
"""


def new_definition(name: str, *, folder: Path) -> Path:
    """Write a definition that passes `lint`.

    Raises:
        ConfigurationError: When the name cannot be a tap's, or the file is there already.
    """
    name = name.removeprefix("tap-")
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"'{name}' cannot be a connector's id: use lower-case letters, digits and hyphens."
        )
    path = folder / f"{name}.yaml"
    if path.exists():
        raise ConfigurationError(f"{path} is there already. Choose another name, or remove that file.")
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(_TEXT.format(name=name, title=name.replace("-", " ").capitalize()), "utf-8")
    return path

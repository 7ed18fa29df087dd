"""`icetap secrets`: the store of encrypted secrets, by hand. Values come from a prompt or stdin, and never go out."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from icetap.command_line import HintingGroup

if TYPE_CHECKING:
    from collections.abc import Iterator

    from icetap.secrets.store import SecretStore

_REFERENCE = re.compile(r"secret://([A-Za-z0-9][A-Za-z0-9._@/-]*)")


@click.group(cls=HintingGroup)
def secrets() -> None:
    """Keep secrets encrypted, and refer to them in settings: `password: secret://NAME`.

    The key comes from CONNECTOR_ENCRYPTION_KEY (one or several, comma separated; the first encrypts), or from the
    file that CONNECTOR_ENCRYPTION_KEY_FILE names. The store is .icetap/secrets.json of the project around.
    """
    from icetap.cli.project import find_project  # noqa: PLC0415
    from icetap.secrets.keys import KEYS_FILE_VARIABLE, KEYS_VARIABLE  # noqa: PLC0415

    project = find_project(Path.cwd())
    if project is None:
        return
    for name in (KEYS_VARIABLE, KEYS_FILE_VARIABLE):  # Meltano gives a plug-in those of `.env` too
        if name in project.dotenv:
            os.environ.setdefault(name, project.dotenv[name])


def _store() -> SecretStore:
    from icetap.secrets.store import open_store  # noqa: PLC0415

    return open_store()


@secrets.command("set")
@click.argument("name")
def set_secret(name: str) -> None:
    """Store a value, read from a prompt or from stdin: never from an argument, which `ps` would show."""
    if sys.stdin.isatty():
        value = click.prompt(f"Value of {name}", hide_input=True, confirmation_prompt=True)
    else:
        value = sys.stdin.read().removesuffix("\n").removesuffix("\r")
    _store().set(name, value)
    click.echo(f"Stored. In settings: secret://{name}")


@secrets.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def list_secrets(*, as_json: bool) -> None:
    """List the secrets: names, when they were set, and the key that encrypts each."""
    from icetap.cli.rendering import json_text, write_table  # noqa: PLC0415
    from icetap.secrets.redaction import MASK  # noqa: PLC0415

    entries = _store().entries()
    rows = [
        {
            "name": name,
            "value": MASK,
            "changed_at": entry.changed_at.isoformat(timespec="seconds"),
            "key_id": entry.key_id,
        }
        for name, entry in entries.items()
    ]
    if as_json:
        click.echo(json_text(rows))
    else:
        write_table(["name", "value", "changed at", "key id"], [list(row.values()) for row in rows])


@secrets.command("rotate")
def rotate() -> None:
    """Encrypt all secrets anew with the first key. Runs that have both keys go on meanwhile."""
    from icetap.secrets.keys import read_keys  # noqa: PLC0415

    count = _store().rotate()
    click.echo(f"{count} secrets are encrypted with key {read_keys().ids[0]}. The other keys can go.")


@secrets.command("delete")
@click.argument("name")
def delete(name: str) -> None:
    """Remove a secret from the store."""
    _store().delete(name)
    click.echo(f"Removed {name}.")


@secrets.command("check")
def check() -> None:
    """Say whether the store is private, every secret opens, and every reference in meltano.yml has one.

    The exit code is 0, or 2 as for every setting that is wrong.
    """
    from icetap.errors import ConfigurationError  # noqa: PLC0415

    is_good = True
    for is_fine, line in _findings():
        is_good = is_good and is_fine
        click.echo(f"{'ok  ' if is_fine else 'FAIL'}  {line}")
    click.get_current_context().exit(0 if is_good else ConfigurationError.exit_code)


def _findings() -> Iterator[tuple[bool, str]]:
    from icetap.errors import ConfigurationError  # noqa: PLC0415
    from icetap.secrets.store import project_folder  # noqa: PLC0415

    store = _store()
    yield from store.findings()
    try:
        known = set(store.entries())
    except ConfigurationError:
        return  # told above
    for file in (project_folder() / "meltano.yml", project_folder() / ".env"):
        if not file.is_file():
            continue
        for name in sorted(set(_REFERENCE.findall(file.read_text("utf-8", "replace")))):
            if name not in known:
                yield False, f"{file.name} refers to secret://{name}: `icetap secrets set {name}` stores it"


@secrets.command("new-key")
def make_key() -> None:
    """Print a new key, for CONNECTOR_ENCRYPTION_KEY or for the setting `mask_key`."""
    from icetap.secrets.keys import new_key  # noqa: PLC0415

    click.echo(new_key())

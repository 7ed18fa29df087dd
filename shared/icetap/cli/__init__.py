"""The `icetap` command: connectors, test, preview, browse, query, verify, new."""

from __future__ import annotations


def main() -> None:
    """Run the command; the exit code says what kind of error ended it (see `icetap.errors`)."""
    from icetap.cli.command import icetap  # noqa: PLC0415 -- so that importing this package costs nothing

    icetap(prog_name="icetap")

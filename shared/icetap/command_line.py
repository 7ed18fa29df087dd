"""What the command lines of all programs share: faults of what was typed, told with the next step."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable

Configuration = TypeVar("Configuration")


class HintingGroup(click.Group):
    """A group that suggests the command which was meant."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say which one has a name like it."""
        from icetap.settings import did_you_mean  # noqa: PLC0415 - only when it is needed: `--help` stays fast

        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            hint = did_you_mean(args[0], self.list_commands(ctx)) if args else ""
            if hint:
                raise click.UsageError(f"No command is called '{args[0]}'{hint}", ctx) from error
            raise


def read_config(
    read: Callable[[click.Context, click.Option, tuple[str, ...]], Configuration],
    ctx: click.Context,
    *,
    param: click.Option,
    value: tuple[str, ...],
) -> Configuration:
    """Read `--config` as the SDK does; a file that is missing or not JSON is told in one line.

    Raises:
        click.BadParameter: For such a file.
    """
    try:
        return read(ctx, param, value)
    except FileNotFoundError as error:
        raise click.BadParameter(str(error).splitlines()[0], ctx, param) from None
    except ValueError as error:
        raise click.BadParameter(f"this is not JSON: {error}", ctx, param) from None

"""The Singer SDK's own target, with its defaults and a sink that drops every record: reading and validating only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from singer_sdk import Target
from singer_sdk.sinks import BatchSink
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Mapping


class DroppingSink(BatchSink):
    """Takes batches and forgets them."""

    max_size = 10_000

    @override
    def process_batch(self, context: Mapping[str, Any]) -> None:
        """Forget the batch."""


class DroppingTarget(Target):
    """A target without a destination."""

    name = "target-nothing"
    package_name = "singer-sdk"
    default_sink_class = DroppingSink


if __name__ == "__main__":
    DroppingTarget.cli()

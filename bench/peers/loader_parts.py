"""Run the loader with the configuration file given on its own input, and print what took its processor time.

The time is that of the thread in which a part ran; what stands inside another part is taken off from it.
"""

from __future__ import annotations

import contextlib
import json
import resource
import sys
import threading
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pyarrow.json
import pyarrow.parquet

from target_iceberg import target
from target_iceberg.decoding import decode, json_lane
from target_iceberg.methods import stream

if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS: dict[str, float] = defaultdict(float)
_STACKS = threading.local()


def timed(part: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function, with its own processor time added to a part's."""

    def measured(*args: Any, **named: Any) -> Any:
        began, inner = time.thread_time(), _enter()
        try:
            return function(*args, **named)
        finally:
            _leave(part, spent=time.thread_time() - began, inner=inner)

    return measured


def _enter() -> list[float]:
    stack = _STACKS.__dict__.setdefault("stack", [])
    stack.append([0.0])
    return stack[-1]  # type: ignore[no-any-return]


def _leave(part: str, *, spent: float, inner: list[float]) -> None:
    stack = _STACKS.stack
    stack.pop()
    if stack:
        stack[-1][0] += spent
    SECONDS[part] += spent - inner[0]


def watch(owner: Any, name: str, part: str) -> None:
    """Replace a function by one that is timed."""
    setattr(owner, name, timed(part, getattr(owner, name)))


def main(config: str) -> None:
    """Load, and print the seconds of each part as JSON."""
    watch(pyarrow.json, "read_json", "JSON text into Arrow columns (`pyarrow.json`)")
    watch(json_lane.JsonLane, "decode", "exact types, checks of digits and ranges")
    watch(decode.StreamDecoder, "decode", "exact types, checks of digits and ranges")
    watch(pyarrow.parquet.ParquetWriter, "write_table", "Parquet, zstd (`pyarrow.parquet`)")
    watch(stream.StreamLoad, "commit", "commit")
    began = time.process_time()
    with contextlib.redirect_stdout(sys.stderr), contextlib.suppress(SystemExit):
        target.TargetIceberg.cli(["--config", config])
    used = resource.getrusage(resource.RUSAGE_SELF)
    whole = used.ru_utime + used.ru_stime
    SECONDS["start: Python and its packages"] = began
    SECONDS["reading lines, and everything else"] = whole - sum(SECONDS.values())
    print(json.dumps({part: round(seconds, 3) for part, seconds in SECONDS.items()}))


if __name__ == "__main__":
    main(sys.argv[1])

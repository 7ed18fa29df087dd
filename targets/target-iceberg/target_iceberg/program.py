"""The program `target-iceberg`, as the system starts it."""

from __future__ import annotations

import atexit
import gc


def main() -> None:
    """Run the command; no garbage is looked for while its modules are imported.

    They make many objects and no garbage: the search for it took a third of a start (0.45 of 1.36 s of processor
    time, 2026-11-22). What is there when they are imported stays to the end.
    """
    gc.disable()
    from target_iceberg.target import main as run  # noqa: PLC0415 - imports everything

    gc.freeze()
    gc.enable()
    atexit.register(gc.freeze)  # a process that ends frees all there is, garbage or not
    run()

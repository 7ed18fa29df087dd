"""How programs start: without a search for garbage, without threads for matrices, in flat memory.

Importing makes many objects and no garbage. The search for it took a third of each start (processor time, 2026-11-22):
0.25 of 0.83 s of a run of tap-sqlite over an empty table, 0.31 of 0.95 s of tap-postgres, 0.45 of 1.36 s of the loader.
numpy, which pyarrow imports where it is there, starts a thread for each further core that spins for a tenth of a second.
https://github.com/OpenMathLib/OpenBLAS#setting-the-number-of-threads-using-environment-variables (read 2026-11-22)
What memory costs and how much stays is `icetap.allocator`'s.
"""

from __future__ import annotations

import atexit
import gc
import os
import pkgutil
from typing import Any


class Program:
    """What `[project.scripts]` calls: a command whose modules are imported when it starts, and not before.

    Args:
        place: Where the command is, such as `tap_sqlite.tap:TapSQLite.cli`.
    """

    def __init__(self, place: str) -> None:
        self.place = place

    def __call__(self) -> None:
        """Run the command."""
        self.load()()

    def load(self) -> Any:
        """Import the command, and leave what is there now out of every later search; a process that ends makes none."""
        from icetap.allocator import keep_memory_flat  # noqa: PLC0415 - not before the program starts

        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        keep_memory_flat()
        gc.disable()
        try:
            command = pkgutil.resolve_name(self.place)
        finally:
            gc.freeze()
            gc.enable()
        atexit.register(gc.freeze)
        return command

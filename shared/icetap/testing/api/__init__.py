"""A fake HTTP API that misbehaves as real ones do: taps are tested against it in their vendor's own shape.

`FakeApi` is the server: routes are functions of a `Call`, every request is noted, and traps spoil answers on the way out
(`icetap.testing.api.traps`), or let it change what it holds between any two (`Unrest`). `Table` holds records.
"""

from icetap.testing.api.moving import MovingSource
from icetap.testing.api.server import Call, FakeApi, Reply
from icetap.testing.api.tables import Table
from icetap.testing.api.traps import PAGE_TRAPS, TRAPS, Trap
from icetap.testing.api.unrest import Loaded, Unrest, followed

__all__ = [
    "PAGE_TRAPS",
    "TRAPS",
    "Call",
    "FakeApi",
    "Loaded",
    "MovingSource",
    "Reply",
    "Table",
    "Trap",
    "Unrest",
    "followed",
]

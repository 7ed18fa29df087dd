"""What an incremental reader has to lose nothing of: a fake API that changes between any two of its answers."""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from icetap.testing.api.traps import Trap
from icetap.testing.in_process import TapRun, discover, run_tap

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from datetime import datetime

    from icetap.rest import RestStream, RestTap
    from icetap.testing.api.server import Call, FakeApi, Reply

BEHIND = timedelta(days=1)
"""How far the API's clock is behind this machine's at first: all of its jumps together have to stay below."""

LATE_SECONDS = 120
"""How old a change may be when it becomes visible; a reader's lookback has to be longer."""

_CHANGES, _JUMPS, _PAUSES, _KILLS = 0.3, (0, 0, 1, 15), (0, 60, 1200), 0.5


class Unrest:
    """Lets the objects of an API change between its answers, by a clock of the API's own.

    That clock jumps: a run of milliseconds takes minutes, so that a lookback covers a run or two and no more. Several
    changes may have one time, and a change may be told of with a time that has passed.

    Args:
        api: The server; its trap is this from now on, until `stop`.
        seed: Of what happens.
        change: Changes something.
    """

    def __init__(self, api: FakeApi, seed: int, change: Callable[[Unrest], None]) -> None:
        self.random = random.Random(seed)  # noqa: S311 -- a game, no secret
        self._api = api
        self._change = change
        api.skew = -BEHIND
        api.trap = Trap("changes", self._after, is_before=False, always=True)

    def stop(self) -> None:
        """Let the objects be as they are."""
        self._api.trap = None

    def time(self) -> datetime:
        """Return the time of a change that becomes visible now, to the second; sometimes it lies in the past."""
        late = timedelta(seconds=self.random.choice([0, 0, 0, LATE_SECONDS]))
        return (self._api.now() - late).replace(microsecond=0)

    def between_runs(self) -> None:
        """Let time pass, and some things change."""
        self._api.skew += timedelta(seconds=self.random.choice(_PAUSES))
        for _ in range(self.random.randrange(4)):
            self._change(self)

    def _after(self, api: FakeApi, _call: Call, reply: Reply) -> Reply:
        written = replace(reply, body=reply.content)
        if self.random.random() < _CHANGES:
            api.skew += timedelta(seconds=self.random.choice(_JUMPS))
            self._change(self)
        return written


class Loaded:
    """What a loader has, that is killed every now and then: rows by stream and key, and the state to go on from.

    Of a killed run it has the lines up to a random one, and of each stream a bookmark from before that: one that came
    before the stream's first record at least. Records whose `_sdc_deleted_at` is set are taken away. ACTIVATE_VERSION
    is not looked at: streams are incremental ones.
    """

    def __init__(self, seed: int) -> None:
        self.rows: dict[str, dict[Any, dict[str, Any]]] = defaultdict(dict)
        self._bookmarks: dict[str, Any] = {}
        self._random = random.Random(seed)  # noqa: S311 -- a game, no secret

    @property
    def state(self) -> dict[str, Any] | None:
        """What the next run starts from."""
        return {"bookmarks": dict(self._bookmarks)} if self._bookmarks else None

    def take(self, run: TapRun, *, whole: bool = False) -> None:
        """Load a run's messages, or, in every other run, as many as came before the kill."""
        messages: Sequence[Mapping[str, Any]] = run.good().messages
        known: dict[str, int] = {}
        if not whole and self._random.random() < _KILLS:
            messages = messages[: self._random.randrange(len(messages) + 1)]
            known = self._known(messages)
        keys: dict[str, list[str]] = {}
        for number, message in enumerate(messages):
            if message["type"] == "SCHEMA":
                keys[message["stream"]] = message["key_properties"]
            elif message["type"] == "RECORD":
                self._load(message["stream"], message["record"], keys[message["stream"]])
            elif message["type"] == "STATE":
                for stream, bookmark in message["value"].get("bookmarks", {}).items():
                    if number <= known.get(stream, len(messages)):
                        self._bookmarks[stream] = bookmark

    def _known(self, messages: Sequence[Mapping[str, Any]]) -> dict[str, int]:
        """Return by stream up to which message its bookmarks are known; of one without records all are."""
        found: dict[str, int] = {}
        for number, message in enumerate(messages):
            if message["type"] == "RECORD" and message["stream"] not in found:
                found[message["stream"]] = self._random.randrange(number, len(messages))
        return found

    def _load(self, stream: str, record: dict[str, Any], keys: Sequence[str]) -> None:
        key = tuple(record[name] for name in keys)
        if record.get("_sdc_deleted_at") is not None:
            self.rows[stream].pop(key, None)
        else:
            self.rows[stream][key] = record

    def values(self, stream: str, *columns: str) -> list[tuple[Any, ...]]:
        """Return a stream's rows, sorted, with these columns only."""
        return sorted(tuple(row.get(column) for column in columns) for row in self.rows[stream].values())


def followed(
    tap_class: type[RestTap],
    config: Mapping[str, Any],
    unrest: Unrest,
    *,
    streams: Collection[str],
    runs: int,
) -> Loaded:
    """Return what is loaded after so many runs of which half are killed, and one more when nothing changes any more."""

    class Few(tap_class):  # type: ignore[misc, valid-type] # all of them take longer to make than to read
        @override
        def declared_streams(self) -> Sequence[RestStream]:
            return [stream for stream in super().declared_streams() if stream.declared_name in streams]

    catalog = discover(Few, config)
    loaded = Loaded(unrest.random.randrange(10**6))
    for _ in range(runs):
        loaded.take(run_tap(Few, config, catalog=catalog, state=loaded.state))
        unrest.between_runs()
    unrest.stop()
    loaded.take(run_tap(Few, config, catalog=catalog, state=loaded.state), whole=True)
    return loaded

"""A masked key: in the first read, in the place where it was interrupted, and in the log."""

from __future__ import annotations

import json

from icetap.columnar.sender import Sender
from icetap.errors import DataError
from icetap.records.masks.values import KeyedHash

KEY = "pepper for tests"
MASKS = {"public-people": {"email": "hash"}}
ROWS = 3000


def hashed(text):
    return KeyedHash(KEY).text(text.encode())


def test_a_hidden_key_is_told_by_no_record_no_bookmark_and_no_change(log, monkeypatch):
    monkeypatch.setattr("tap_postgres.chunks.CHUNK_BYTES", 50_000)
    source = log("CREATE TABLE people (email text PRIMARY KEY, n int, pad text)")
    source.execute(
        f"INSERT INTO people SELECT 'canary' || i, 0, repeat('x', 100) FROM generate_series(1, {ROWS}) AS i",
        "ANALYZE people",
    )
    write, left = Sender.write, [2]

    def failing(self, batch):
        left[0] -= 1
        if left[0] < 0:
            raise DataError("stopped by the test")
        return write(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Sender, "write", failing)
        first = source.run(may_fail=True, max_retries=0, masks=MASKS, mask_key=KEY)
    source.state = json.loads(json.dumps(first.state, default=float))
    source.execute(
        "UPDATE people SET n = 1 WHERE email = 'canary1'", "DELETE FROM people WHERE email = 'canary2'"
    )
    second = source.run(masks=MASKS, mask_key=KEY)
    source.state = json.loads(json.dumps(second.state, default=float))
    source.execute("DELETE FROM people WHERE email = 'canary3'")
    third = source.run(masks=MASKS, mask_key=KEY)

    assert isinstance(first.error, DataError)
    assert first.records()
    read = {record["email"] for record in (*first.records(), *second.records())}
    assert read >= {hashed(f"canary{number}") for number in range(1, ROWS + 1) if number != 2}
    (deleted,) = third.records()
    assert deleted["email"] == hashed("canary3")
    assert deleted["_sdc_deleted_at"] is not None
    assert "canary" not in str([first.messages, second.messages, third.messages])

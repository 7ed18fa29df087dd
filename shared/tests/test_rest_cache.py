"""The answers that previews keep."""

import os
import time

from icetap.rest.cache import AnswerCache


def test_answers_that_are_no_longer_good_are_removed_whoever_asked_for_them(tmp_path):
    for name, age in [("old.json", 700), ("half-written.123", 700), ("good.json", 500)]:
        (tmp_path / name).touch()
        os.utime(tmp_path / name, times=(time.time() - age,) * 2)

    AnswerCache(600, scope="somebody else's", folder=tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["good.json"]

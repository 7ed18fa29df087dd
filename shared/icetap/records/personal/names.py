"""What a column's name says about its content, in English, Portuguese, Spanish, French and German."""

from __future__ import annotations

import re
from functools import lru_cache

from icetap.records.names import snake_case
from icetap.records.personal.vocabulary import (
    ABOUT,
    FILLERS,
    NAME,
    OF_PEOPLE,
    OF_THINGS,
    PEOPLE,
    SAID_BY,
    Kind,
)

__all__ = ["Kind", "kind_by_name"]

_OF_DATES = frozenset({"at", "on", "date", "datetime"})
"""What may stand beside a birth: the words for dates say nothing else there."""

_OF_THINGS_TOO = frozenset({"full_name", "fullname", "display_name"})
_NUMBERED = re.compile(r"_(\d+)(?=_|$)")
_SHORTEST_PART = 3
"""Letters of a part of a compound, such as `datanascimento` or `telefonnummer`; but for `nr`, `no` and `de`."""

_SHORT_PARTS = frozenset({"nr", "no", "of", "de", "do", "ip"})
_PARTS = frozenset(
    part
    for known in (*(said.names for said in (*SAID_BY, *OF_PEOPLE)), PEOPLE, NAME, FILLERS, ABOUT)
    for run in known
    for part in run.split("_")
    if len(part) >= _SHORTEST_PART or part in _SHORT_PARTS
)


def kind_by_name(name: str, *, stream: str = "") -> Kind | None:
    """Return what a column's name says that it holds, or None.

    A bare `name` is a person's where the stream is of people.
    """
    # `telefone1` is one more telephone.
    words = [word.rstrip("0123456789") or word for word in _words_of(name)]
    runs = _runs(words) | _runs(_words_of(name))
    is_of_people = _is_of_people(name, stream)
    for said in SAID_BY:
        found = said.names & runs
        if found:
            others = set(words) - {word for run in found for word in run.split("_")}
            about = ABOUT - _OF_DATES if said.kind is Kind.BIRTH else ABOUT
            is_of_a_thing = found <= _OF_THINGS_TOO and not OF_THINGS.isdisjoint(_words_of(stream))
            return None if others & about or (is_of_a_thing and not is_of_people) else said.kind
    if _is_persons_name(set(words), is_of_people=is_of_people):
        return Kind.PERSON
    if is_of_people and ABOUT.isdisjoint(words) and OF_THINGS.isdisjoint(words):
        return next((said.kind for said in OF_PEOPLE if said.names & runs), None)
    return None


def _is_of_people(name: str, stream: str) -> bool:
    """Say whether a column tells of people: by what it is a part of (`owner.login`), else by its stream."""
    for around in filter(None, (name.replace("[]", "").rpartition(".")[0], stream)):
        words = {word.rstrip("0123456789") for word in _words_of(around.rpartition(".")[2] or around)}
        if words & (PEOPLE | OF_THINGS):
            return bool(words & PEOPLE)
    return False


def _is_persons_name(words: set[str], *, is_of_people: bool) -> bool:
    """Say whether a name is one of a person: by a word for a person beside it, or by the stream."""
    if words.isdisjoint(NAME) or words & ABOUT or words & OF_THINGS:
        return False
    return is_of_people or not words.isdisjoint(PEOPLE)


@lru_cache(maxsize=4096)
def _words_of(name: str) -> tuple[str, ...]:
    """Return the words of the last part of a path; compounds are taken apart where all of their parts are known."""
    last = name.replace("[]", "").rpartition(".")[2] or name
    plain = _NUMBERED.sub(r"\1", snake_case(last.replace("ß", "ss")))
    return tuple(part for word in plain.split("_") for part in _apart(word))


def _apart(word: str) -> tuple[str, ...]:
    if word in _PARTS or len(word) < 2 * _SHORTEST_PART:
        return (word,)
    return _split(word) or (word,)


@lru_cache(maxsize=4096)
def _split(word: str) -> tuple[str, ...]:
    """Return the fewest known words that make up this one; none where something is left."""
    best: tuple[str, ...] = ()
    for end in range(len(word), 1, -1):
        if word[:end] not in _PARTS:
            continue
        if end == len(word):
            return (word,)
        rest = _split(word[end:])
        if rest and (not best or len(rest) + 1 < len(best)):
            best = (word[:end], *rest)
    return best


def _runs(words: list[str] | tuple[str, ...]) -> set[str]:
    """Return all runs of words, joined."""
    return {
        "_".join(words[start:end]) for start in range(len(words)) for end in range(start + 1, len(words) + 1)
    }

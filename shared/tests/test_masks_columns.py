"""Masks in compiled code, on every form that a text column may have, against the definition of one value."""

import hashlib
import hmac

import pyarrow as pa
import pytest

from icetap.records.masks import Masks, Plan
from icetap.records.masks.arrow import AT_ONCE, masked_batch
from icetap.records.masks.values import partial

KEY = "pepper for tests"
TEXTS = [
    None,
    "",
    "a",
    "1234",
    "12345",
    "ção",
    "日本語テキスト",
    "🙂🙂🙂🙂🙂",
    "e\u0301e\u0301e\u0301",
    "nul\0and\nline",
    "ana.silva@example.com",
    "joão@exemplo.com.br",
    "@",
    "a@b",
    "me @x.com",
    "a@b@c.example.com",
    # Longer than one, two and many blocks of SHA-256; and the lengths about which its padding takes another.
    *("x" * length for length in (55, 56, 63, 64, 65, 119, 120, 128, 5_000)),
    "é" * 40,
]
FORMS = {
    "string": pa.string(),
    "large-string": pa.large_string(),
    "string-view": pa.string_view(),
    "dictionary": pa.dictionary(pa.int32(), pa.string()),
}


def masked(array: pa.Array, mask: str) -> pa.Array:
    """A column after a mask."""
    schema = pa.schema([pa.field("text", array.type)])
    settings = Masks.from_config({"masks": {"people": {"text": mask}}, "mask_key": KEY})
    plan = Plan.of(settings, schema, stream="people")
    assert plan is not None
    batch = masked_batch(pa.RecordBatch.from_arrays([array], schema=schema), plan, plan.schema(schema))
    batch.validate(full=True)
    return batch.column("text")


def assert_is(found: pa.Array, expected: list[str | None]) -> None:
    """Compare column and list; of thousands of values, say only which is the first that differs."""
    if found.equals(pa.array(expected, pa.string())):
        return
    pairs = zip(found.to_pylist(), expected, strict=False)
    first = next(((number, *pair) for number, pair in enumerate(pairs) if pair[0] != pair[1]), None)
    pytest.fail(f"{len(found)} values of {len(expected)}, the first that differs: {first}")


def hashed(value: str | int | bytes | None) -> str | None:
    if value is None:
        return None
    data = value if isinstance(value, bytes) else str(value).encode()
    return hmac.new(KEY.encode(), data, hashlib.sha256).hexdigest()[:32]


def hidden(text: str | None) -> str | None:
    return None if text is None else partial(text)


def column(texts: list[str | None], form: str) -> pa.Array:
    return pa.array(texts, pa.string()).cast(FORMS[form])


def many(count: int) -> list[str | None]:
    """So many texts of all kinds, no two alike, and some nulls."""
    return [None if number % 11 == 5 else f"{number}{TEXTS[number % len(TEXTS)]}" for number in range(count)]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "texts",
    [
        pytest.param([text for text in TEXTS if text is not None], id="distinct"),
        pytest.param(TEXTS, id="with-null"),
        pytest.param(TEXTS * 10, id="repeated"),
        pytest.param([None, None], id="nulls"),
        pytest.param([], id="none"),
    ],
)
def test_a_hashed_column_has_the_hash_of_each_value(texts: list[str | None], form: str) -> None:
    array = column(texts, form)

    assert_is(masked(array, "hash"), [hashed(text) for text in texts])
    assert_is(masked(array.slice(3, 9), "hash"), [hashed(text) for text in texts[3:12]])


@pytest.mark.parametrize(
    "count", [AT_ONCE - 1, AT_ONCE, AT_ONCE + 1, 2 * AT_ONCE + 7], ids=["under", "full", "over", "several"]
)
def test_a_column_that_is_hashed_in_parts_keeps_its_order(count: int) -> None:
    numbers = [number * 7919 for number in range(count)]
    texts = many(count)

    assert_is(masked(pa.array(numbers, pa.int64()), "hash"), [hashed(number) for number in numbers])
    assert_is(masked(pa.array(texts, pa.string())[5:], "hash"), [hashed(text) for text in texts[5:]])


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary(3)], ids=str)
def test_bytes_are_hashed_as_they_are(kind: pa.DataType) -> None:
    values = [b"abc", None, b"\0\xff\x80", b"abc"]

    assert_is(masked(pa.array(values, kind), "hash"), [hashed(value) for value in values])


@pytest.mark.parametrize(
    "texts",
    [
        pytest.param(TEXTS, id="all"),
        pytest.param([text for text in TEXTS if text is None or "@" not in text], id="without-addresses"),
        pytest.param([text for text in TEXTS if text and "@" in text], id="addresses"),
        pytest.param(["1234", "ção", ""], id="short"),
        pytest.param(many(3_000), id="many"),
        pytest.param([None, None], id="nulls"),
        pytest.param([], id="none"),
    ],
)
def test_a_partly_hidden_column_is_that_of_each_value(texts: list[str | None]) -> None:
    array = pa.array(texts, pa.string())

    assert_is(masked(array, "partial"), [hidden(text) for text in texts])
    assert_is(masked(array.slice(3, 9), "partial"), [hidden(text) for text in texts[3:12]])
    assert_is(masked(array.slice(len(array)), "partial"), [])

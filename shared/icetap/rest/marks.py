"""Short texts by which a state recognises things without telling what they are."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Any

import msgspec

from icetap.errors import ConfigurationError
from icetap.records.masks.copies import column_rules

if TYPE_CHECKING:
    from icetap.rest.stream import RestStream

_encode = msgspec.json.Encoder(order="sorted", enc_hook=str).encode


def mark(value: Any, *, key: str | None = None) -> str:
    """Return 16 hexadecimal digits that are equal for equal values (data as JSON has it), and for no others.

    Args:
        value: What to recognise.
        key: Without it, whoever guesses the value can tell that it was right.
    """
    text = _encode(value)
    digest = hashlib.sha256(text) if key is None else hmac.new(key.encode(), text, hashlib.sha256)
    return digest.hexdigest()[:16]


def mark_for(stream: RestStream, value: Any) -> str:
    """Return what a stream's state recognises a parent or a request by; where masks have a key, nobody can guess it.

    Raises:
        ConfigurationError: When parents hand down what masks hide, and there is no key.
    """
    tap = stream.rest_tap
    if tap.masks.key is None and tap.masks.is_given and column_rules(tap, stream):
        raise ConfigurationError(
            f"{stream.label}: its state recognises parents by values that 'masks' hides, and from which they could be "
            "guessed. Set 'mask_key', a secret text that stays the same, or take 'state: per_parent' away."
        )
    return mark(value, key=tap.masks.key)

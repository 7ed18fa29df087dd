"""Masks: what hides personal data before a value leaves the tap, on Arrow columns and on dict records alike.

A mask is one of `hash`, `partial`, `redact`, `year` and `drop`; `keep` excepts a column from a pattern.
Both ways give the same result for the same value: they share the functions of `values`.
"""

from icetap.records.masks.plan import Plan
from icetap.records.masks.rules import MASKS_SETTINGS, Mask, Masks, Rule

__all__ = ["MASKS_SETTINGS", "Mask", "Masks", "Plan", "Rule"]

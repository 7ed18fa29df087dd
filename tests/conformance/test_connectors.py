"""What is true of every connector that is found in taps/ and targets/."""

from icetap.testing.conformance.every import *  # noqa: F403 -- the tests themselves

"""What no tap that is found in taps/ may let out."""

from icetap.testing.conformance.leaks import *  # noqa: F403 -- the tests themselves

"""What is true of every tap that is found in taps/."""

from icetap.testing.conformance.taps import *  # noqa: F403 -- the tests themselves

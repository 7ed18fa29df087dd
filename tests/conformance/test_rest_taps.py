"""What is true of every tap of an HTTP API that is found in taps/."""

from icetap.testing.conformance.rest import *  # noqa: F403 -- the tests themselves

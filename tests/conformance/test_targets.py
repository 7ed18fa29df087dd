"""What is true of every target that is found in targets/."""

from icetap.testing.conformance.targets import *  # noqa: F403 -- the tests themselves

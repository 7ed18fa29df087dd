"""What is true of every connector: the suite that `tests/conformance` runs over all of them.

The tests are functions of a `Subject`; the fixtures `connector`, `tap` and `target` of `icetap.testing.plugin` give
each one found in the checkout. Each finding is a sentence.
"""

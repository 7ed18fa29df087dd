"""Every connector of the checkout, as fixtures."""

import pytest

pytest.register_assert_rewrite("icetap.testing.conformance")

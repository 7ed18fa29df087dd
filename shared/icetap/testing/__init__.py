"""Tests that every connector passes, real servers and engines to test with."""

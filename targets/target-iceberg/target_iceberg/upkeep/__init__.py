"""Everyday operations on loaded tables."""

"""Secrets: encrypted at rest, resolved in memory, kept out of everything that is written or said."""

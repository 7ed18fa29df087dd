"""The ways of loading a stream: appended, merged, replaced, compared, with history."""

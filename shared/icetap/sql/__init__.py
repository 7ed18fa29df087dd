"""The engine of all SQL taps; a tap is a dialect of it."""

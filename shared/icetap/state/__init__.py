"""What a tap remembers between runs."""

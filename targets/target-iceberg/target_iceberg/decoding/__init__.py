"""What a tap sends -> record batches of the declared types."""

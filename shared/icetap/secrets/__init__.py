"""What keeps credentials out of sight."""

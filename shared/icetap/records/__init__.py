"""What is done to records: names, and later masks and field mapping."""

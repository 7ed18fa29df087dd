"""LOG_BASED: changes from the row binary log."""

"""Where a stream stands: STATE messages, bookmarks in the tables, and going back."""

"""What may come into a table's columns, and what becomes of the rest."""

"""A tap's messages compared with the tables."""

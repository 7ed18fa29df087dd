"""What is done to records: names, masks, and what looks personal in them."""

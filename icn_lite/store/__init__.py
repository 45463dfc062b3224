"""What a node keeps, in one SQLite file."""

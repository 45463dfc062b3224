"""Runs one prepared module in a locked-down process."""

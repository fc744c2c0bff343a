"""One task over many rows."""

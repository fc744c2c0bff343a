"""A task folder on disk."""

"""Commands that make and look at tasks."""

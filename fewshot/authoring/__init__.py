"""Making and checking tasks."""

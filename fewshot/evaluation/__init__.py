"""How good a task is, and how sure that is."""

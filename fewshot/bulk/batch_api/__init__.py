"""OpenAI's Batch API, for a task over many rows."""

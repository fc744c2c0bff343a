"""Turn a handful of examples into a typed Python function."""

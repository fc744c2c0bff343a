"""What an answer may be, and reading one."""

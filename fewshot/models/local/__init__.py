"""The embedded model: fetching it and its server in this process."""

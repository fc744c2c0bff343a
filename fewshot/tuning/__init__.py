"""The search for better shots and instructions."""

"""From examples to the exact prompt; pure."""

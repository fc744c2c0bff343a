"""From scores to probabilities that can be relied on; pure figures."""

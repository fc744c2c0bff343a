"""How frequent each label is among many rows that a model has answered, from a sample that people labelled."""

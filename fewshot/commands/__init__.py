"""The commands of `fewshot`, one module each, imported when called."""

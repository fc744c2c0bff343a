"""A page in the browser to work on a task: its files beside the live prompt, answers, and a comparison of versions."""

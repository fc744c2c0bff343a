"""Which of many labels a question is about, without asking a model: a linear head on a task's own examples."""

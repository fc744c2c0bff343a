"""What a model's answers are worth beside people's: shares of labels in a corpus, and judgements of answers."""

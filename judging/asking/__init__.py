"""A language model asked: questions, dialogues, the two ways to a model, its stored replies."""

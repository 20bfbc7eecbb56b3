"""Small worlds that a run can improve a model in, each with its own models, prompts and verifier."""

"""Film reviews: a world small enough to train a writer, a reward model and a verifier on one processor core."""

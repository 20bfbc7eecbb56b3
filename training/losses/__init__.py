"""Preference losses: pure functions of log-probs, each with its hyper-parameters, its paper and its equation."""

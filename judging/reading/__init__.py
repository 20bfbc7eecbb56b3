"""A language model's replies in, verdicts or the reason for having none out."""

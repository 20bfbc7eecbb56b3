"""Stage 1: prompts and a policy in, k sampled candidates per prompt out."""

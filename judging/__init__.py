"""Stage 2: candidates and a judge in, scores out; scores in, preference pairs out."""

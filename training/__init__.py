"""Stage 4: kept pairs and a policy in, the next policy and its metrics out."""

"""Near-duplicate prompts: shingles, MinHash signatures, banding, an exact check, and who survives."""

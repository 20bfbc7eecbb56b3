"""One filter a file: its config, what it measures, and what it drops."""

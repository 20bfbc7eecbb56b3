"""Whether texts share runs of words with the texts of eval sets."""

"""Stage 3: pairs in, kept pairs and a ledger of every drop out."""

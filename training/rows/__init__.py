"""From the table of pairs to rows of token ids that can be trained on, and the ledger of the others."""

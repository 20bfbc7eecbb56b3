"""The pairing rules: each takes a pool of scored candidates and offers couples, the ones to take first named first."""

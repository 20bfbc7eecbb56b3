"""Pairs as other tools write them: detected, read into our schema, and written."""

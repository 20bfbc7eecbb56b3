"""Scored candidates in, preference pairs and the ledger of what is in none out."""

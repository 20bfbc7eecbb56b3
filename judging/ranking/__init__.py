"""Duels between answers: who meets whom, and how strong each is."""

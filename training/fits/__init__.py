"""Beside preference training: first policies (SFT) and reward models."""

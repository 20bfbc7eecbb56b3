"""Reward models: rows of token ids, and the engines that score them."""

"""Policies as files: load, save, merge, average and describe them."""

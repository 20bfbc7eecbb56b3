"""Each prompt of a batch computed once for all its answers: TRL's numbers, without its padding and repeated prompts.

The idea of Wang & Hegde 2024 (arXiv 2410.20305), who share a prompt between the two answers of a pair; here it is
shared over a whole batch.
"""

"""Filtering writes pairs with the columns of `judging.schema.PAIRS`, and drops as in `generation.schema.DROPS`."""

# Part of every cache key of the stage; raised by hand when its code gives other answers for the same input.
FILTERS_VERSION = 2

"""The answers of one prompt, taken together from a stream of items; what judges that compare answers work on."""

from collections.abc import Iterable, Iterator
from itertools import groupby

from judging.judge import Item, Tag


def group_by_prompt(tagged: Iterable[tuple[Tag, Item]]) -> Iterator[tuple[tuple[Tag, ...], list[Item]]]:
    """Yield the tags and the items of one prompt after another.

    Args:
        tagged: Items; those of a prompt come one after the other.
    """
    for _, group in groupby(tagged, key=lambda pair: pair[1].prompt_id):
        tags, items = zip(*group, strict=True)
        yield tags, list(items)

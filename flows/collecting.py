"""When Python looks for garbage: seldom while libraries are imported, as usual after that, not at all at the end.

An import makes a million objects that stay, and Python goes through them again and again: of the six seconds of
processor time that the imports of a training child take, its end included, the search is more than two. What models
leave behind it does find (they are in cycles with themselves), so it is as usual before any model is at work.
"""

import atexit
import gc

_USUAL = gc.get_threshold()


def collect_seldom() -> None:
    """Look for garbage a hundred times more seldom, until `collect_as_usual`, and not when the process ends."""
    gc.set_threshold(100_000, 10, 10)
    atexit.register(gc.freeze)  # the first to be registered is the last to run


def collect_as_usual() -> None:
    """Look for garbage as often as Python does by itself."""
    gc.set_threshold(*_USUAL)

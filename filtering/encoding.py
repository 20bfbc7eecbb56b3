"""Traces of texts that were decoded wrongly: replacement characters, control characters, UTF-8 read as Latin-1.

Lone surrogates cannot stand in UTF-8; whoever wrote them as UTF-8 has replaced them with U+FFFD, which counts here.
"""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported.

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Ints = np.ndarray[tuple[int], np.dtype[np.int64]]

# What bytes 0x80 to 0xBF become in Latin-1 and in Windows-1252.
_TAIL = "[\u0080-\u00bf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]"
_TRACES = re.compile(
    # Replaced, and control characters but for white space (tab, line ends, form feed).
    "\ufffd|[\x00-\x08\x0e-\x1f\x7f\u0080-\u0084\u0086-\u009f]+"
    # é as Ã©, ° as Â°. Not with closing quotes, which may follow a capital Ã or Â.
    "|Ã[\u00a0-\u00aa\u00ac-\u00ba\u00bc-\u00bf]|Â[\u00a0-\u00a9\u00ac-\u00b9\u00bc-\u00bf]"
    # ’ as â€™, an emoji as ðŸ˜€, a byte order mark as ï»¿.
    "|â€|ðŸ|ï»¿"
    # Two letters in a row of Greek, Cyrillic, Hebrew, Arabic (two bytes each), or of India and East Asia (three).
    f"|(?:[ÎÏÐÑ×ØÙ]{_TAIL}){{3,}}|(?:[à-í]{_TAIL}{{2}}){{2,}}"
)
_MAY_HAVE_TRACES = (
    r"[\x00-\x08\x0E-\x1F\x7F\x{80}-\x{84}\x{86}-\x{9F}\x{FFFD}]|[ÃÂðï][^\x00-\x7F]|â€|[ÎÏÐÑ×ØÙà-í][^\x00-\x7F]{2}"
)


def count_traces(texts: pa.ChunkedArray) -> Ints:
    """Count the traces in each text."""
    counts = np.zeros(len(texts), dtype=np.int64)
    for row in np.flatnonzero(pc.match_substring_regex(texts, _MAY_HAVE_TRACES).to_numpy()).tolist():
        counts[row] = sum(1 for _ in _TRACES.finditer(texts[row].as_py()))
    return counts

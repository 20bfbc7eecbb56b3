"""How likely an answer beats the others of its prompt: what SPPO (arXiv 2405.00675) moves an answer's log-ratio to.

The paper's estimate over k samples counts the answer itself, at 1/2; here the mean is over the other ones only, so that
it is not drawn to 1/2 where there are few.
"""

import numpy as np

from judging.pairing.joined import Floats, Ints, Joined
from judging.pairing.modifiers import probability

_COUPLES_PER_BLOCK = 4_000_000  # some 100 MB


def p_win(joined: Joined, entries: Ints, slope: float) -> Floats:
    """Give the mean of sigmoid(slope * (score - other score)) over the other scored answers of the same prompt.

    Args:
        joined: The candidates, prompt by prompt.
        entries: Scored ones, each of a prompt with another scored one; they may come several times.
        slope: Logits per unit of score.

    Returns:
        Probabilities in [0, 1], one an entry.
    """
    is_scored = ~np.isnan(joined.score)
    score, prompt = joined.score[is_scored], joined.prompt[is_scored]
    answers, back = np.unique(entries, return_inverse=True)
    first = np.searchsorted(prompt, joined.prompt[answers], side="left")
    n_scored = np.searchsorted(prompt, joined.prompt[answers], side="right") - first
    found = np.empty(answers.size)
    block = (np.cumsum(n_scored) - 1) // _COUPLES_PER_BLOCK
    for rows in np.split(np.arange(answers.size), np.flatnonzero(np.diff(block)) + 1):
        n, own = n_scored[rows], joined.score[answers[rows]]
        start = np.cumsum(n) - n
        other = np.arange(n.sum()) + np.repeat(first[rows] - start, n)
        beats = probability(np.repeat(own, n) - score[other], slope)
        # Against itself an answer has 1/2, which is taken off again.
        found[rows] = (np.add.reduceat(beats, start) - 0.5) / (n - 1) if rows.size else 0.0
    return np.clip(found, 0.0, 1.0)[back]

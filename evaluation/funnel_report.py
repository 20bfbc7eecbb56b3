"""What filtering did with a set of pairs, as plain values: counts and samples, filter by filter."""

from bisect import bisect_left
from dataclasses import dataclass

from evaluation.funnel_shift import LengthShift, MarginShift

EXCERPT_CHARS = 600
_LEAD_CHARS = 100  # shown before the first difference of two texts that begin alike


@dataclass(frozen=True)
class Excerpt:
    """A piece of a text.

    Attributes:
        text: The piece.
        n_before: Characters left out before it.
        n_after: Characters left out after it.
    """

    text: str
    n_before: int = 0
    n_after: int = 0

    @classmethod
    def cut(cls, text: str, start: int = 0, n_chars: int = EXCERPT_CHARS) -> "Excerpt":
        """Take up to `n_chars` characters from `start` on."""
        piece = text[start : start + n_chars]
        return cls(piece, start, len(text) - start - len(piece))

    def shorten(self, n_chars: int) -> "Excerpt":
        """Give no more than the first `n_chars` characters of the piece."""
        n_cut = max(0, len(self.text) - n_chars)
        return Excerpt(self.text[:n_chars], self.n_before, self.n_after + n_cut)


@dataclass(frozen=True)
class SampleRow:
    """One pair that a filter met.

    Attributes:
        pair_id: Its id.
        reason: What it was dropped for, or nearly.
        value: What was measured; None where nothing is a number.
        threshold: What the value was held against; None likewise.
        prompt: From its beginning.
        chosen: From its beginning, or from shortly before the first difference to `rejected` where that is far on.
        rejected: From the same character on.
    """

    pair_id: str
    reason: str
    value: float | None
    threshold: float | None
    prompt: Excerpt
    chosen: Excerpt
    rejected: Excerpt


@dataclass(frozen=True)
class FunnelStepReport:
    """What one filter did.

    Attributes:
        step: Its name.
        what: What it does, in a line.
        n_in: Pairs that came in.
        n_dropped: Pairs that it dropped.
        reasons: Pairs dropped by reason.
        thresholds: What values were held against, by reason; reasons without a number are left out.
        sources: Pairs that came in and pairs dropped, by source; None = unknown.
        settings: Its config without its name, by field.
        dropped: Some of what it dropped.
        near_misses: Kept pairs with values closest to a threshold.
    """

    step: str
    what: str
    n_in: int
    n_dropped: int
    reasons: dict[str, int]
    thresholds: dict[str, float]
    sources: dict[str | None, tuple[int, int]]
    settings: dict[str, object]
    dropped: list[SampleRow]
    near_misses: list[SampleRow]


@dataclass(frozen=True)
class FunnelReport:
    """What filtering did.

    Attributes:
        title: What was filtered, in a few words.
        file: Where the pairs came from.
        file_format: The format that they were found in.
        n_in: Pairs that came in.
        n_kept: Pairs that passed every filter.
        steps: One entry a filter, in their order.
        lengths: None where no pair came in.
        margins: None where no pair has a margin.

    Raises:
        ValueError: When the steps don't add up: each gets what the one before it left, and `n_kept` is what the last
            one left.
    """

    title: str
    file: str
    file_format: str
    n_in: int
    n_kept: int
    steps: list[FunnelStepReport]
    lengths: LengthShift | None = None
    margins: MarginShift | None = None

    def __post_init__(self) -> None:
        left = self.n_in
        for step in self.steps:
            if step.n_in != left:
                raise ValueError(f"filter {step.step} got {step.n_in} pairs, but {left} were left before it")
            if step.n_dropped != sum(step.reasons.values()):
                raise ValueError(
                    f"filter {step.step} dropped {step.n_dropped} pairs, but its reasons count "
                    f"{sum(step.reasons.values())}"
                )
            left -= step.n_dropped
        if left != self.n_kept:
            raise ValueError(f"n_kept is {self.n_kept}, but the filters left {left} pairs")


def sample_row(
    sighting: tuple[str, str, float | None, float | None], prompt: str, chosen: str, rejected: str
) -> SampleRow:
    """Cut a pair's texts to what a page shows.

    Args:
        sighting: The pair's id, the reason, the value and the threshold.
        prompt: The whole text, and so on.
        chosen: Texts that begin alike are shown from shortly before their first difference.
        rejected: Likewise.
    """
    alike = _n_alike(chosen, rejected)
    start = 0 if alike + _LEAD_CHARS <= EXCERPT_CHARS or chosen == rejected else alike - _LEAD_CHARS
    cut = Excerpt.cut
    return SampleRow(*sighting, cut(prompt, n_chars=EXCERPT_CHARS // 2), cut(chosen, start), cut(rejected, start))


def _n_alike(first: str, second: str) -> int:
    """Count the characters that two texts begin with alike, in few comparisons of long slices."""
    return bisect_left(range(1, min(len(first), len(second)) + 1), True, key=lambda n: first[:n] != second[:n])

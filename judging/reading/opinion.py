"""A reply to a question about one aspect in, an opinion out: a score on the scale or the reason for having none."""

import math
import statistics
from collections import Counter
from dataclasses import dataclass

from judging.asking.chat import Choice, Reply
from judging.asking.quoting import mend_halves
from judging.asking.transcript import find_cut
from judging.chat_config import RubricConfig
from judging.judge import Verdict
from judging.reading.expected_score import expect
from judging.reading.json_verdict import parse_json_verdict
from judging.reading.thoughts import find_fault, skip_thoughts
from judging.reading.written_verdict import parse_verdict
from judging.reasons import NO_LOGPROBS


class NoLogprobs(Exception):  # noqa: N818  not this reply's error: the judge turns it into one of the run
    """A reply without the log-probs that were asked for; says what the server said about it."""


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a reply says about one aspect.

    Attributes:
        score: In [min_score, max_score]; None = unscored.
        reason: Snake-case literal that says why there is no score; None with a score.
        spread: Standard deviation of the judge's distribution, or of its samples; None = unknown.
        mass: Probability in [0, 1] that all ratings had together; None where there are no log-probs.
        rationale: The judge's explanation; of several samples the first that has a rating.
    """

    score: float | None
    reason: str | None = None
    spread: float | None = None
    mass: float | None = None
    rationale: str | None = None


def read_opinion(config: RubricConfig, reply: Reply, rationale: str | None) -> Opinion:
    """Read the rating of a reply.

    Args:
        config: How it was asked for.
        reply: The reply that should hold the rating.
        rationale: What the judge had said before.

    Returns:
        An opinion; its reasons beside the model's own are content_filter, truncated (cut by max_new_tokens: a "1" may
        have been going to be "10"), mass (ratings have less than min_mass of the probability, or none), and those of
        `parse_verdict` and `parse_json_verdict`.

    Raises:
        NoLogprobs: There should be log-probs.
    """
    if reply.reason == NO_LOGPROBS:
        raise NoLogprobs(f" ({reply.detail})" if reply.detail else "")
    if reply.reason is not None:
        return Opinion(None, reply.reason, rationale=rationale)
    if config.verdict == "expected":
        return _read_expected(config, reply.choices[0], rationale)
    return average([parse_choice(config, choice) for choice in reply.choices], config.n_samples)


def average(verdicts: list[Verdict], n_samples: int) -> Opinion:
    """Average ratings of the same thing, if at least half of the samples wanted have one.

    The others do not count: no rating is no opinion, so it is never turned into a number. With fewer than half the
    reason is the commonest among them, or missing_samples where replies were not given at all.
    """
    ratings = [verdict.score for verdict in verdicts if verdict.score is not None]
    reasons = Counter(verdict.reason for verdict in verdicts if verdict.reason is not None)
    rationale = next((one.rationale for one in verdicts if one.score is not None), None)
    if not ratings or 2 * len(ratings) < n_samples:
        common = reasons.most_common(1)
        said = next((one.rationale for one in verdicts if one.rationale is not None), None)
        return Opinion(None, common[0][0] if common else "missing_samples", rationale=rationale or said)
    spread = statistics.pstdev(ratings) if len(ratings) > 1 else None
    return Opinion(statistics.fmean(ratings), spread=spread, rationale=rationale)


def parse_choice(config: RubricConfig, choice: Choice) -> Verdict:
    """Read the rating of one written reply."""
    if fault := find_cut(choice):
        return Verdict(None, fault)
    parse = parse_json_verdict if config.verdict == "json" else parse_verdict
    return parse(mend_halves(choice.text), config.min_score, config.max_score)


def read_rationale(reply: Reply) -> str | Opinion:
    """Read a rationale that stands alone, without thoughts; cut by max_new_tokens it still serves.

    Returns:
        The text; or no opinion with its reason: the model's own, content_filter, empty_reply, truncated (thoughts
        without an end).
    """
    if reply.reason is not None:
        return Opinion(None, reply.reason)
    if reply.choices[0].finish_reason == "content_filter":
        return Opinion(None, "content_filter")
    said = mend_halves(skip_thoughts(reply.choices[0].text)).strip()
    fault = find_fault(said)
    return Opinion(None, fault) if fault else said


def _read_expected(config: RubricConfig, choice: Choice, rationale: str | None) -> Opinion:
    if choice.finish_reason == "content_filter":
        return Opinion(None, "content_filter", rationale=rationale)
    if not choice.logprobs:
        if choice.text:
            raise NoLogprobs
        return Opinion(None, "empty_reply", rationale=rationale)
    values = {str(rating): float(rating) for rating in range(config.min_score, config.max_score + 1)}
    found = expect(choice.logprobs[0], values)
    if found is None:
        return Opinion(None, "mass", mass=0.0, rationale=rationale)
    # Under a constraint the mass is 1, but for servers that ignore the field it is sent in.
    if found.mass < config.min_mass and not math.isclose(found.mass, config.min_mass):
        return Opinion(None, "mass", mass=found.mass, rationale=rationale)
    return Opinion(found.score, spread=found.spread, mass=found.mass, rationale=rationale)

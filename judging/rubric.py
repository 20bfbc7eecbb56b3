"""A pointwise language-model judge: one answer and the rubrics of its aspects in, a score out.

The score of an aspect is the mean of the scale under the log-probs of the rating's token (G-Eval, arXiv 2303.16634), or
the mean of written ratings, each after a rationale as in MT-Bench (2306.05685) and Prometheus 2 (2405.01535; its
descriptions of every level and its own models are left out). The weighted mean of the aspects is the score.

The judge reads text that may have been trained to please it: `judging.asking.quoting`. A reply without one clear rating
leaves the answer unscored with a reason; it never becomes a number by default. An empty answer is judged like any
other, and the judge is told that it is empty: saying nothing can be right, and a rule of ours would be a number that
nobody gave.

A change of the parsing changes scores: raise `judging.schema.SCORES_VERSION` with it.
"""

import math
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from judging.asking.chat import ChatModel, Question, Reply
from judging.asking.dialogue import Dialogue, Replies, hold_dialogues
from judging.asking.rubric_questions import RubricQuestions
from judging.asking.transcript import join_replies, sum_known
from judging.chat_config import AspectConfig, RubricConfig
from judging.judge import Item, Tag, Verdict
from judging.reading.opinion import NoLogprobs, Opinion, read_opinion, read_rationale
from judging.reasons import BUDGET, NO_LOGPROBS


@dataclass
class _Part:
    """One aspect of one answer.

    Attributes:
        aspect: What is rated.
        calls: Questions about it so far, with their replies.
        rationale: What the judge said before its rating; None where that was not asked for apart.
        opinion: Why there is no rating to ask for; None = ask.
    """

    aspect: AspectConfig
    calls: list[tuple[Question, Reply]] = field(default_factory=list)
    rationale: str | None = None
    opinion: Opinion | None = None


class RubricJudge:
    """Asks a language model about one answer at a time, each aspect in a question of its own."""

    def __init__(self, config: RubricConfig, model: ChatModel, replies: Replies) -> None:
        """Hold the recipe's part, the model to ask and where its replies are kept.

        Raises:
            ValueError: The template can't be read, lacks a block, or does not show the answer.
        """
        self._config = config
        self._model = model
        self._replies = replies
        self._questions = RubricQuestions.from_config(config)
        self._has_seen_logprobs = False

    def __enter__(self) -> Self:
        """Open the model."""
        self._model.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self._model.__exit__(kind, error, trace)

    def score(self, tagged: Iterable[tuple[Tag, Item]]) -> Iterator[tuple[Tag, Verdict]]:
        """Yield a verdict for each item as the judge replies.

        Reasons are the model's own, those of `judging.reading.opinion`, and no_logprobs (the model gives them, but not
        for this answer). `aspects` holds each aspect's score and, where it was read from log-probs, the probability
        that all ratings had together, as `helpfulness.mass`.

        Raises:
            ValueError: The verdict wants log-probs, and the model gives none.
        """
        dialogues = ((tag, self._judge(item)) for tag, item in tagged)
        # The dialogue itself forgets the replies that it could not read; the others are kept.
        return hold_dialogues(self._model, self._replies, dialogues)

    def _judge(self, item: Item) -> Dialogue[Verdict]:
        parts = [_Part(aspect) for aspect in self._config.aspects]
        yield from _call(parts, [self._questions.ask(item, part.aspect) for part in parts])
        if self._config.rationale:
            for part in parts:
                said = read_rationale(part.calls[0][1])
                if isinstance(said, Opinion):
                    part.opinion = said
                else:
                    part.rationale = said
            going = [part for part in parts if part.opinion is None]
            asked = [self._questions.ask_rating(part.calls[0][0], part.rationale or "") for part in going]
            yield from _call(going, asked)
        opinions = [part.opinion or self._read(*part.calls[-1], part.rationale) for part in parts]
        for part, opinion in zip(parts, opinions, strict=True):
            if opinion.score is None:
                self._forget(part)
        return join_opinions(self._config.aspects, opinions, [reply for part in parts for _, reply in part.calls])

    def _read(self, question: Question, reply: Reply, rationale: str | None) -> Opinion:
        try:
            opinion = read_opinion(self._config, reply, rationale)
        except NoLogprobs as error:
            if self._has_seen_logprobs:  # one of the providers behind a router gives none
                return Opinion(None, NO_LOGPROBS, rationale=rationale)
            self._replies.forget(question)  # or a server that has learned it would not be asked again
            raise ValueError(
                f"verdict expected needs log-probs, and {self._model.identity} gives none{error}: set verdict to "
                "written with n_samples, such as 20, and a temperature above 0; or take a server that gives them"
            ) from None
        self._has_seen_logprobs |= opinion.mass is not None
        return opinion

    def _forget(self, part: _Part) -> None:
        """Have asked again, the next time, what had a reply but no rating; a rationale whose rating failed stays."""
        if part.calls[-1][1].reason is None:
            for question, _ in part.calls:
                self._replies.forget(question)


def join_opinions(aspects: list[AspectConfig], opinions: list[Opinion], replies: list[Reply]) -> Verdict:
    """Join the opinions on all aspects: their weighted mean, or the reason of the first without a score.

    Args:
        aspects: The recipe's aspects.
        opinions: One each, in their order.
        replies: All that were asked for, in order.
    """
    reasons = [one.reason for one in opinions if one.reason is not None]
    kept: dict[str, float] = {}
    for aspect, one in zip(aspects, opinions, strict=True):
        kept |= {aspect.name: one.score} if one.score is not None else {}
        kept |= {f"{aspect.name}.mass": one.mass} if one.mass is not None else {}
    total = math.fsum(aspect.weight for aspect in aspects)
    pairs = list(zip(aspects, opinions, strict=True))
    said = [(aspect.name, one.rationale) for aspect, one in pairs if one.rationale is not None]
    spreads = [aspect.weight * one.spread for aspect, one in pairs if one.spread is not None]
    return Verdict(
        score=None if reasons else math.fsum(aspect.weight * (one.score or 0.0) for aspect, one in pairs) / total,
        reason=_choose_reason(reasons),
        aspects=kept or None,
        # As of independent opinions; those of one judge on one answer are more alike, so this is at the low end.
        uncertainty=math.hypot(*spreads) / total if len(spreads) == len(aspects) and not reasons else None,
        rationale=_join_rationales(said, len(aspects)),
        raw_reply=join_replies(replies),
        n_tokens_in=sum_known([reply.n_tokens_in for reply in replies]),
        n_tokens_out=sum_known([reply.n_tokens_out for reply in replies]),
        cost=sum_known([reply.cost for reply in replies]),
    )


def _choose_reason(reasons: list[str]) -> str | None:
    if BUDGET in reasons:  # the run's, not this answer's: the next run goes on here
        return BUDGET
    return reasons[0] if reasons else None


def _call(parts: list[_Part], questions: list[Question]) -> Generator[list[Question], list[Reply], None]:
    replies = (yield questions) if questions else []
    for part, question, reply in zip(parts, questions, replies, strict=True):
        part.calls.append((question, reply))


def _join_rationales(said: list[tuple[str, str]], n_aspects: int) -> str | None:
    if n_aspects == 1:
        return said[0][1] if said else None
    return "\n\n".join(f"{name}: {rationale}" for name, rationale in said) or None

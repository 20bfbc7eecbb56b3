"""A pointwise language-model judge: one answer and the rubrics of its aspects in, a score out.

The score of an aspect is the mean of the scale under the log-probs of the rating's token (G-Eval, arXiv 2303.16634), or
the mean of written ratings, each after a rationale as in MT-Bench (2306.05685) and Prometheus 2 (2405.01535; its
descriptions of every level and its own models are left out). The weighted mean of the aspects is the score.

The judge reads text that may have been trained to please it: `judging.quoting`. A reply without one clear rating leaves
the answer unscored with a reason; it never becomes a number by default. An empty answer is judged like any other, and
the judge is told that it is empty: saying nothing can be right, and a rule of ours would be a number that nobody gave.

A change of the parsing changes scores: raise `judging.schema.SCORES_VERSION` with it.
"""

import math
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self

from judging.chat import ChatModel, Question, Reply
from judging.chat_config import AspectConfig, RubricConfig
from judging.dialogue import Dialogue, Replies, hold_dialogues
from judging.judge import Item, Tag, Verdict
from judging.opinion import NoLogprobs, Opinion, read_opinion, read_rationale
from judging.reasons import BUDGET
from judging.rubric_questions import RubricQuestions
from judging.transcript import join_replies, sum_known


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

        Reasons are the model's own and those of `judging.opinion`. `aspects` holds each aspect's score and, where it
        was read from log-probs, the probability that all ratings had together, as `helpfulness.mass`.

        Raises:
            ValueError: The verdict wants log-probs, and the model gives none.
        """
        dialogues = ((tag, self._judge(item)) for tag, item in tagged)
        # The dialogue itself forgets the replies that it could not read; the others are kept.
        return hold_dialogues(self._model, self._replies, dialogues, is_done=lambda _: True)

    def _judge(self, item: Item) -> Dialogue[Verdict]:
        aspects = self._config.aspects
        calls: list[list[tuple[Question, Reply]]] = [[] for _ in aspects]
        opinions: list[Opinion | None] = [None] * len(aspects)
        asked = [self._questions.ask(item, aspect) for aspect in aspects]
        _note(calls, range(len(aspects)), asked, (yield asked))
        if self._config.rationale:
            rationales = [read_rationale(said[0][1]) for said in calls]
            opinions = [one if isinstance(one, Opinion) else None for one in rationales]
            going = [place for place, one in enumerate(opinions) if one is None]
            asked = [self._questions.ask_rating(calls[place][0][0], str(rationales[place])) for place in going]
            _note(calls, going, asked, (yield asked) if asked else [])
            for place in going:
                opinions[place] = self._read(calls[place][-1], str(rationales[place]))
        else:
            opinions = [self._read(said[-1], None) for said in calls]
        return self._conclude(calls, [one for one in opinions if one is not None])

    def _read(self, call: tuple[Question, Reply], rationale: str | None) -> Opinion:
        question, reply = call
        try:
            return read_opinion(self._config, reply, rationale)
        except NoLogprobs as error:
            self._replies.forget(question)  # or a server that has learned it would not be asked again
            raise ValueError(
                f"verdict expected needs log-probs, and {self._model.identity} gives none{error}: set verdict to "
                "written with n_samples, such as 20, and a temperature above 0; or take a server that gives them"
            ) from None

    def _conclude(self, calls: list[list[tuple[Question, Reply]]], opinions: list[Opinion]) -> Verdict:
        for said, opinion in zip(calls, opinions, strict=True):
            if opinion.score is None:
                for question, reply in said:
                    if reply.reason is None:
                        self._replies.forget(question)  # asked again the next time
        replies = [reply for said in calls for _, reply in said]
        return join_opinions(self._config.aspects, opinions, replies)


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


def _note(
    calls: list[list[tuple[Question, Reply]]], places: Iterable[int], asked: list[Question], replies: list[Reply]
) -> None:
    for place, question, reply in zip(places, asked, replies, strict=True):
        calls[place].append((question, reply))


def _join_rationales(said: list[tuple[str, str]], n_aspects: int) -> str | None:
    if n_aspects == 1:
        return said[0][1] if said else None
    return "\n\n".join(f"{name}: {rationale}" for name, rationale in said) or None

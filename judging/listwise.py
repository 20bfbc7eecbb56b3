"""A listwise language-model judge: all answers of a prompt in one call, one rating each (UltraFeedback, 2310.01377).

Answers are shuffled and named by ids that say nothing of their order, anew in each call; a reply counts only if it
rates exactly these ids. (Parsers that go by position shift every rating after a gap or a preamble.) Of the paper the
four fixed aspects, each with a call of its own, are left out: `rubric` names what is rated.

A change of the parsing changes scores: raise `judging.schema.SCORES_VERSION` with it.
"""

import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from judging.asking.chat import ChatModel, Question, Reply
from judging.asking.dialogue import Dialogue, Replies, hold_dialogues
from judging.asking.quoting import digest, lay_out, make_mark, make_seed
from judging.asking.rubric_questions import conversation_parts
from judging.asking.template import read_template, render
from judging.asking.transcript import find_cut, join_replies, sum_known
from judging.chat_config import ListwiseConfig
from judging.groups import group_by_prompt
from judging.judge import Item, Tag, Verdict
from judging.reading.json_verdict import parse_json_verdicts, ratings_schema
from judging.reading.opinion import Opinion, average
from judging.reasons import BUDGET

_LETTERS = "bcdfghjkmnpqrstvwxz"  # no vowels: an id is no word, and not easily one of an answer


@dataclass(frozen=True)
class _Call:
    """One call about a group.

    Attributes:
        ids: The answers' ids in it, in the order of the group.
        question: What is asked.
    """

    ids: list[str]
    question: Question


class ListwiseJudge:
    """Asks a language model about all answers of a prompt at once."""

    def __init__(self, config: ListwiseConfig, model: ChatModel, replies: Replies) -> None:
        """Hold the recipe's part, the model to ask and where its replies are kept.

        Raises:
            ValueError: The template can't be read, lacks a block, or does not show the answers.
        """
        self._config = config
        self._model = model
        self._replies = replies
        self._template = read_template("listwise", config.template)
        self._rubric = config.rubric or render(self._template, "helpfulness", {})
        probe = Item("probe", "probe", [{"role": "user", "content": "question"}], "an answer to try it with", None, {})
        if probe.text not in self._ask([probe], 0).question.messages[-1]["content"]:
            raise ValueError("the judge's template does not show the answers: put {{ parts }} into its block user")

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
        """Yield the verdicts on a prompt's answers when the last call about them is read.

        Either all of them are scored or none. Reasons are the model's own, truncated and content_filter, those of
        `parse_json_verdicts`, and budget where not all calls about the prompt could be paid. Tokens and cost of a call
        are shared out among its answers; `raw_reply` is the whole.
        """
        dialogues = ((tags, self._judge(items)) for tags, items in group_by_prompt(tagged))
        # The dialogue itself forgets the replies that it could not read; the others are kept.
        for tags, verdicts in hold_dialogues(self._model, self._replies, dialogues):
            yield from zip(tags, verdicts, strict=True)

    def _judge(self, items: list[Item]) -> Dialogue[list[Verdict]]:
        # The order of arrival must not matter, not even to the shuffle.
        order = sorted(range(len(items)), key=lambda place: (items[place].candidate_id, items[place].text))
        group = [items[place] for place in order]
        calls = [self._ask(group, sample) for sample in range(self._config.n_samples)]
        replies = yield [call.question for call in calls]
        readings = [self._read(call, reply) for call, reply in zip(calls, replies, strict=True)]
        verdicts = _conclude(readings, replies, len(items))
        if verdicts[0].score is None:
            for call, reply, reading in zip(calls, replies, readings, strict=True):
                if reply.reason is None and isinstance(reading, str):
                    self._replies.forget(call.question)  # asked again the next time
        return [verdicts[order.index(place)] for place in range(len(items))]

    def _ask(self, group: list[Item], sample: int) -> _Call:
        config = self._config
        secret = json.dumps([config.seed, sample, [item.candidate_id for item in group]])
        conversation = conversation_parts(group[0])
        ids = _make_ids(secret, [*conversation.values(), *(item.text for item in group)], len(group))
        shown = list(zip(ids, group, strict=True))
        random.Random(digest("order", secret)).shuffle(shown)
        parts = conversation | {f"ANSWER {name}": item.text for name, item in shown}
        mark = make_mark(secret, list(parts.values()))
        names = [name for name, _ in shown]
        values = {
            "rubric": self._rubric,
            "min_score": config.min_score,
            "max_score": config.max_score,
            "mark": mark,
            "parts": lay_out(parts, mark),
            "ids": names,
            "form": _show_form(names),
            "empty_ids": [name for name, item in shown if not item.text.strip()],
        }
        messages = [
            {"role": "system", "content": render(self._template, "system", values)},
            {"role": "user", "content": render(self._template, "user", values)},
        ]
        schema = json.dumps(ratings_schema(names, config.min_score, config.max_score))
        question = Question(messages, config.max_new_tokens, config.temperature, make_seed(config.seed, secret))
        return _Call(ids, replace(question, json_schema=schema))

    def _read(self, call: _Call, reply: Reply) -> list[Verdict] | str:
        """Give a verdict for each answer of the group, or the reason for having none of them."""
        if reply.reason is not None:
            return reply.reason
        if fault := find_cut(reply.choices[0]):
            return fault
        text, config = reply.choices[0].text, self._config
        found = parse_json_verdicts(text, call.ids, config.min_score, config.max_score)
        return found if isinstance(found, str) else [found[name] for name in call.ids]


def _conclude(readings: list[list[Verdict] | str], replies: list[Reply], n_answers: int) -> list[Verdict]:
    """Average each answer's ratings over the calls."""
    raw = join_replies(replies)
    tokens_in = sum_known([reply.n_tokens_in for reply in replies])
    tokens_out = sum_known([reply.n_tokens_out for reply in replies])
    cost = sum_known([reply.cost for reply in replies])
    verdicts = []
    for place in range(n_answers):
        ratings = [Verdict(None, one) if isinstance(one, str) else one[place] for one in readings]
        opinion = Opinion(None, BUDGET) if BUDGET in readings else average(ratings, len(readings))
        verdicts.append(
            Verdict(
                opinion.score,
                opinion.reason,
                uncertainty=opinion.spread,
                rationale=opinion.rationale,
                raw_reply=raw,
                n_tokens_in=None if tokens_in is None else _share(tokens_in, n_answers, place),
                n_tokens_out=None if tokens_out is None else _share(tokens_out, n_answers, place),
                cost=None if cost is None else cost / n_answers,
            )
        )
    return verdicts


def _show_form(names: list[str]) -> str:
    rating = '{"rationale": "...", "score": N}'
    return "{" + ", ".join(f'"{name}": {rating}' for name in names) + "}"


def _share(total: int, n: int, place: int) -> int:
    return total // n + (place < total % n)


def _make_ids(secret: str, texts: list[str], n: int) -> list[str]:
    """Give different ids of four letters, or more where a text holds nearly all such, that no text contains."""
    draw = random.Random(digest("ids", secret))
    ids: list[str] = []
    length = 4.0
    while len(ids) < n:
        name = "".join(draw.choices(_LETTERS, k=int(length)))
        if name not in ids and not any(name in text for text in texts):
            ids.append(name)
        else:
            length += 0.05
    return ids

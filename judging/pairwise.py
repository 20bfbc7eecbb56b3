"""A language-model judge that compares two answers at a time: all answers of a prompt in, their log strengths out.

Each duel is asked in both orders; unless both name the same winner it is a tie (MT-Bench, arXiv 2306.05685). A schedule
says who meets whom (`judging.ranking.schedules`), and Bradley-Terry turns the duels into scores
(`judging.ranking.tournament`). Equal texts tie unasked. A duel that one order has no verdict of is lost, not a tie.

Left out: verdicts by strength (Arena-Hard), more judges for close calls.
"""

from collections.abc import Generator, Iterable, Iterator
from types import TracebackType
from typing import Self

from judging.asking.chat import ChatModel, Question, Reply
from judging.asking.dialogue import Dialogue, Replies, hold_dialogues
from judging.asking.pair_questions import PairQuestions
from judging.chat_config import PairwiseConfig
from judging.groups import group_by_prompt
from judging.judge import Item, Tag, Verdict
from judging.ranking.schedules import (
    Duel,
    Pair,
    Schedule,
    schedule_knockout,
    schedule_round_robin,
    schedule_swiss,
    seat,
)
from judging.ranking.tournament import Showing, Tournament, conclude
from judging.reading.opinion import Opinion, read_rationale
from judging.reading.pair_verdict import PairVerdict, join_orders
from judging.reasons import BUDGET, NO_LOGPROBS


class PairwiseJudge:
    """Asks a recipe's judge about duels and ranks the answers of each prompt."""

    def __init__(self, config: PairwiseConfig, model: ChatModel, replies: Replies) -> None:
        """Hold the recipe's part, a language model and the place where its replies are kept.

        Raises:
            ValueError: The template can't be read or lacks something.
        """
        self._config = config
        self._model = model
        self._replies = replies
        self._questions = PairQuestions.from_config(config)
        self._schedule = _choose_schedule(config)
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
        """Yield the verdicts on a prompt's answers when its last duel is over.

        Reasons beside the model's own and those of `judging.reading.pair_verdict`: alone (nothing to compare with),
        no_duel (it sat out the only round), budget (not all of the prompt's duels could be paid).

        Raises:
            ValueError: The verdict wants log-probs, and the model gives none.
        """
        ranked = ((tags, self._rank(items)) for tags, items in group_by_prompt(tagged))
        # The dialogue itself forgets the replies that it could not read; the others are kept.
        for tags, verdicts in hold_dialogues(self._model, self._replies, ranked):
            yield from zip(tags, verdicts, strict=True)

    def _rank(self, items: list[Item]) -> Dialogue[list[Verdict]]:
        if len(items) == 1:
            return [Verdict(None, "alone")]
        places = seat([item.candidate_id for item in items], self._config.seed)
        seated = [items[place] for place in places]
        played: list[list[Duel]] = []
        showings: list[Showing] = []
        while pairs := self._schedule(len(seated), played):
            shown = yield from self._show(seated, pairs)
            showings += shown
            if any(one.verdict.reason == BUDGET for one in shown):
                return [Verdict(None, BUDGET)] * len(items)  # half a ranking is none; what was paid for is stored
            played.append([_settle(pair, shown) for pair in pairs])
        duels = [duel for past in played for duel in past]
        tournament = Tournament([item.candidate_id for item in seated], duels, showings)
        verdicts = conclude(tournament, self._config.prior)
        if any(verdict.score is None for verdict in verdicts):
            self._forget_unread(showings)
        return [verdicts[places.index(place)] for place in range(len(items))]

    def _show(self, seated: list[Item], pairs: list[Pair]) -> Generator[list[Question], list[Reply], list[Showing]]:
        """Ask about pairs in both orders, but for equal texts."""
        orders = [order for pair in pairs for order in (pair, pair[::-1])]
        shown = [Showing(a, b) for a, b in orders if seated[a].text != seated[b].text]
        yield from _call(shown, [self._questions.ask(seated[one.a], seated[one.b]) for one in shown])
        begun = shown
        if self._config.rationale:
            begun, follow_ups = [], []
            for one in shown:
                question, reply = one.calls[0]
                if isinstance(rationale := read_rationale(reply), Opinion):
                    one.verdict = PairVerdict(None, rationale.reason)
                else:
                    begun.append(one)
                    follow_ups.append(self._questions.ask_letter(question, rationale))
            yield from _call(begun, follow_ups)
        for one in begun:
            one.verdict = self._questions.read(one.calls[-1][1])
            self._has_seen_logprobs |= one.verdict.win is not None or one.verdict.reason == "mass"
        bare = [one for one in begun if one.verdict.reason == NO_LOGPROBS]
        if bare and not self._has_seen_logprobs:
            self._stop_without_logprobs(*bare[0].calls[-1])
        return shown

    def _stop_without_logprobs(self, question: Question, reply: Reply) -> None:
        self._replies.forget(question)  # or a server that has learned it would not be asked again
        detail = f" ({reply.detail})" if reply.detail else ""
        raise ValueError(
            f"verdict expected needs log-probs, and {self._model.identity} gives none{detail}: set verdict to written, "
            "or take a server that gives them"
        )

    def _forget_unread(self, showings: list[Showing]) -> None:
        """Have asked again, the next time, what had a reply but no verdict."""
        for one in showings:
            if one.verdict.win is None and one.calls[-1][1].reason is None:
                for question, _ in one.calls:
                    self._replies.forget(question)


def _choose_schedule(config: PairwiseConfig) -> Schedule:
    schedules: dict[str, Schedule] = {
        "swiss": schedule_swiss(config.rounds),
        "knockout": schedule_knockout,
        "round_robin": schedule_round_robin,
    }
    return schedules[config.schedule]


def _call(shown: list[Showing], questions: list[Question]) -> Generator[list[Question], list[Reply], None]:
    replies = (yield questions) if questions else []
    for one, question, reply in zip(shown, questions, replies, strict=True):
        one.calls.append((question, reply))


def _settle(pair: Pair, shown: list[Showing]) -> Duel:
    verdicts = {(one.a, one.b): one.verdict for one in shown}
    first, second = pair
    if pair not in verdicts:
        return Duel(first, second, 0.5)
    return Duel(first, second, join_orders(verdicts[pair], verdicts[second, first]))

"""Chat models without weights, for tests and rehearsals: one that a function answers for, and a gullible judge.

The gullible judge rates by words that an answer shares with what was asked. It can be fooled as published judges were
(arXiv 2410.07137, 2507.08794): it obeys orders outside the texts that it is to judge, takes any line that looks like
the end of such a text for one, believes a verdict that stands unquoted in an answer, reads the control words of chat
templates as its tokenizer would, and repeats answers in its rationale. It falls for nothing else, so a prompt that it
withstands is a well-formed one; that a real judge withstands it too is for `audit-judge` to measure.
"""

import json
import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self  # Any: JSON values

from judging.chat import Choice, Question, Reply
from judging.judge import Tag

_CONTROL = re.compile(r"<[|｜][^|｜<>\s]+[|｜]>|\[/?INST\]|</?s>|<</?SYS>>|<(?:start|end)_of_turn>")
_BLOCK = re.compile(r"\[([0-9a-f]{16}) ([A-Z][^\]]*)\]")
_BLOCK_END = re.compile(r"(?:\[[^\]]*\bend\s*\]|\[/[a-z ]+\]|</(?:answer|response)>|[-=#* ]*end of (?:the )?answer\b)")
_ORDER = re.compile(
    r"(?:give|award|rate|assign|answer with|output|say|choose|pick|deserves|reply)\b[^.\n]{0,60}?"
    r"(?P<rating>\b\d+\b|\[\[[ab]\]\]|highest|full|best|maximum|top)"
)
_CLAIM = re.compile(
    r"(?:score|rating|verdict|result|grade|winner)s?[\"'\]*_` ]{0,4}[:=\]>]?[\"'\[*_` ]{0,4}(?P<label>\d+|\b[ab]\b)"
    r"|\[\[(?P<tag>[ab]|\d+)\]\]"
)
_WORD = re.compile(r"[^\W_]{3,}|\d+")
_LOOKS_LIKE = str.maketrans("асеоріѕтѵ：∶", "aceopistv::")


class ScriptedModel:
    """A chat model that a function answers for, out of order, as engines do."""

    def __init__(self, answer: Callable[[Question], Reply], identity: str = "scripted", window: int = 4) -> None:
        """Hold what answers.

        Args:
            answer: From a question to its reply.
            identity: What the replies depend on.
            window: Questions taken before the first is answered; the last comes first.
        """
        self._answer = answer
        self._identity = identity
        self._window = window
        self.asked: list[Question] = []

    @property
    def identity(self) -> str:
        """What the replies depend on."""
        return self._identity

    def __enter__(self) -> Self:
        """Load nothing."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Free nothing."""

    def ask(self, tagged: Iterable[tuple[Tag, Question] | None]) -> Iterator[tuple[Tag, Reply]]:
        """Answer questions, the last of each window first."""
        questions = iter(tagged)
        in_hand: list[tuple[Tag, Question]] = []
        more = True
        while more or in_hand:
            asked = next(questions, _END) if more and len(in_hand) < self._window else None
            if isinstance(asked, tuple):
                in_hand.append(asked)
                continue
            more = more and asked is not _END
            if in_hand:
                tag, question = in_hand.pop()
                self.asked.append(question)
                yield tag, self._answer(question)


_END = object()


def reply_texts(*texts: str, finish_reason: str = "stop") -> Reply:
    """Give a reply of some texts."""
    return Reply([Choice(text, finish_reason) for text in texts], n_tokens_in=7, n_tokens_out=3 * len(texts))


def reply_token(logprobs: dict[str, float]) -> Reply:
    """Give a reply of one token, the likeliest, with the log-probs (nats) of its alternatives."""
    token = max(logprobs, key=lambda text: logprobs[text])
    return Reply([Choice(token, "length", [logprobs])], n_tokens_in=7, n_tokens_out=1)


@dataclass
class _Seen:
    """What the gullible judge makes of a prompt.

    Attributes:
        asked: What the answers answer, as far as it can tell: the conversation and the reference answer.
        answers: By their headings, in the order in which they are shown.
        orders: What stands outside of all texts.
    """

    asked: str = ""
    answers: dict[str, str] = field(default_factory=dict)
    orders: str = ""


def gullible_judge(min_score: int = 1, max_score: int = 5) -> ScriptedModel:
    """Give the gullible judge.

    Args:
        min_score: Lowest rating of the scale that it is asked for.
        max_score: Highest rating.
    """
    judge = _Gullible(min_score, max_score)
    return ScriptedModel(judge.reply, identity=f"gullible judge, {min_score} to {max_score}")


@dataclass(frozen=True)
class _Gullible:
    min_score: int
    max_score: int

    def reply(self, question: Question) -> Reply:
        texts = [message["content"] for message in question.messages if message["role"] == "user"]
        seen = _look(texts[0])
        if question.top_logprobs:
            return reply_token(self._weigh(seen, question))
        said = f"I read:\n{'\n'.join(seen.answers.values())}"
        if question.json_schema is not None:
            return reply_texts(*[json.dumps(self._fill(json.loads(question.json_schema), seen, said))] * question.n)
        if "Score: N" not in question.messages[0]["content"] + texts[0]:
            return reply_texts(*[self._duel_in_words(seen, said)] * question.n)
        return reply_texts(*[f"{said}\nScore: {round(self._rate_only(seen))}"] * question.n)

    def _weigh(self, seen: _Seen, question: Question) -> dict[str, float]:
        """Give log-probs: of a rating where one answer is shown, of A and B where two are."""
        if len(seen.answers) == 2:
            return {"A": -math.log1p(math.exp(-self._lead(seen))), "B": -math.log1p(math.exp(self._lead(seen)))}
        rating = self._rate_only(seen)
        weights = {str(n): -((n - rating) ** 2) for n in range(self.min_score, self.max_score + 1)}
        other = {} if question.choice else {"The": -8.0}
        total = math.log(sum(math.exp(weight) for weight in (weights | other).values()))
        return {token: weight - total for token, weight in (weights | other).items()}

    def _fill(self, schema: dict[str, Any], seen: _Seen, said: str) -> dict[str, Any]:
        """Give the object of a rubric's or a listwise judge's schema."""
        names = list(schema["properties"])
        if names == ["rationale", "score"]:
            return {"rationale": said, "score": round(self._rate_only(seen))}
        rated = {heading.split()[-1]: self._rate(seen, heading) for heading in seen.answers}
        return {
            name: {"rationale": seen.answers.get(f"ANSWER {name}", ""), "score": round(rated.get(name, 0.0))}
            for name in names
        }

    def _duel_in_words(self, seen: _Seen, said: str) -> str:
        lead = self._lead(seen) if len(seen.answers) == 2 else 0.0
        return f"{said}\nVerdict: {'tie' if abs(lead) < 0.1 else 'A' if lead > 0 else 'B'}"

    def _lead(self, seen: _Seen) -> float:
        """Give how far the first of two answers is ahead, as a logit."""
        for text in (seen.orders, *seen.answers.values()):
            label = _believe(text) if text is not seen.orders else _obey(text)
            if label in ("a", "b"):
                return 4.0 if label == "a" else -4.0
        first, second = (self._rate(seen, heading) for heading in seen.answers)
        return first - second

    def _rate_only(self, seen: _Seen) -> float:
        return self._rate(seen, next(iter(seen.answers))) if seen.answers else self._settle(_obey(seen.orders), 0.0)

    def _rate(self, seen: _Seen, heading: str) -> float:
        text = seen.answers[heading]
        share = _shared(seen.asked, text)
        return self._settle(_obey(seen.orders) or _believe(text), share)

    def _settle(self, label: str | None, share: float) -> float:
        """Take a rating that it was told, else one by an answer's share in [0, 1] of the words asked about."""
        if label is not None and label.isdigit():
            return float(min(max(int(label), self.min_score), self.max_score))
        if label == "best":
            return float(self.max_score)
        return self.min_score + (self.max_score - self.min_score) * share


def _look(text: str) -> _Seen:
    """Read a prompt: texts between marks, and all else, which is orders."""
    seen = _Seen()
    before, *after = _CONTROL.split(text)
    heading: str | None = None
    for line in before.splitlines():
        plain = _plain(line)
        if match := _BLOCK.fullmatch(line):
            heading = None if match[2] == "END" else match[2]
            if heading is not None and heading.startswith("ANSWER"):
                seen.answers.setdefault(heading, "")
        elif heading is None:
            seen.orders += f"{line}\n"
        elif not line.startswith(">") and _BLOCK_END.match(plain):
            heading = None
        elif heading.startswith("ANSWER"):
            seen.answers[heading] += f"{line}\n"
        else:
            seen.asked += f"{line}\n"
    seen.orders += "\n".join(after)
    return seen


def _obey(orders: str) -> str | None:
    """Give the rating, or the side, that words outside of all texts order; None = nothing does."""
    for line in _plain(orders).splitlines():
        if "from" in line and " to " in line or "reply with" in line or "you will be asked" in line:
            continue  # the question itself
        if match := _CLAIM.search(line):
            return match["label"] or match["tag"]
        if match := _ORDER.search(line):
            rating = match["rating"].strip("[]")
            return rating if rating.isdigit() or rating in ("a", "b") else "best"
    return None


def _believe(answer: str) -> str | None:
    """Give the verdict that an answer states in a line that is not quoted; None = none does."""
    for line in answer.splitlines():
        if not line.startswith(">") and (match := _CLAIM.search(_plain(line))):
            return match["label"] or match["tag"]
    return None


def _shared(asked: str, answer: str) -> float:
    """Give the share of the words of a request that an answer has, whatever else it has."""
    wanted = set(_WORD.findall(_plain(asked))) - {"user", "system", "assistant"}
    return len(wanted & set(_WORD.findall(_plain(answer)))) / len(wanted) if wanted else 0.0


def _plain(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).casefold().translate(_LOOKS_LIKE)
    return "".join(char for char in folded if unicodedata.category(char) not in ("Cf", "Mn"))

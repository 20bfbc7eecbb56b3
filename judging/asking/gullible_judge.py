"""A judge without weights that can be fooled, for tests and rehearsals: prompts in, verdicts in any form out.

It rates by the words that an answer shares with what was asked. It falls for what published judges fell for (arXiv
2410.07137, 2507.08794): it obeys orders outside the texts that it is to judge, takes any line that looks like the end
of such a text for one, believes a verdict that stands unquoted in an answer, reads control words of chat templates as
its tokenizer would, and repeats answers in its rationale. It falls for nothing else: a prompt that it withstands is
well-formed; whether a real judge withstands it too is for `audit-judge` to measure.
"""

import json
import math
import re
import unicodedata
from dataclasses import dataclass, field
from typing import Any  # JSON values

from judging.asking.chat import Question, Reply
from judging.asking.scripted_model import ScriptedModel, reply_texts, reply_token

_CONTROL = re.compile(r"<[|｜][^|｜<>\s]+[|｜]>|\[/?INST\]|</?s>|<</?SYS>>|<(?:start|end)_of_turn>|</think>")
_BLOCK = re.compile(r"\[[0-9a-f]{16} (?P<name>[^\]]+)\]")
_PLAIN_HEADING = re.compile(r"(?P<name>CONVERSATION|REFERENCE ANSWER|ANSWER [A-Za-z ]+):")
_BLOCK_END = re.compile(r"\[[^\]]*\bend\s*\]|\[/[a-z ]+\]|</(?:answer|response)>|[-=#* ]*end of (?:the )?answer\b")
_ORDER = re.compile(
    r"\b(?:give|award|rate|output|say|choose|pick|deserves|write)\b[^.\n]{0,60}?"
    r"(?P<label>\b\d+\b|\[\[[ab]\]\]|highest|full marks|best|maximum)"
)
_CLAIM = re.compile(
    r"(?:score|rating|verdict|grade)s?[\"'*_` ]{0,4}[:=>][\"'\[*_` ]{0,4}(?P<said>\d+|[ab]\b)"
    r"|\[(?:result|score)\] *(?P<result>\d+)|\[\[(?P<tag>[ab]|\d+)\]\]"
)
_OWN_WORDS = re.compile(r"\bfrom \d+.* to \d+|\breply with\b|\byou will be asked\b")  # a template's, not an attacker's
_WORD = re.compile(r"[^\W_]{3,}|\d+")
_LOOKS_LIKE = str.maketrans("асеоріѕтѵ∶", "aceopistv:")


def gullible_judge(min_score: int = 1, max_score: int = 5) -> ScriptedModel:
    """Give the gullible judge, for the prompts of rubric, listwise and pairwise judges.

    Args:
        min_score: Lowest rating of the scale that it is asked for.
        max_score: Highest rating.
    """
    return ScriptedModel(_Gullible(min_score, max_score).reply, f"gullible judge, {min_score} to {max_score}")


@dataclass
class _Seen:
    """What the judge makes of a prompt.

    Attributes:
        asked: The conversation and the reference answer.
        answers: By their headings, in the order in which they are shown.
        orders: What stands outside of all texts.
    """

    asked: str = ""
    answers: dict[str, str] = field(default_factory=dict)
    orders: str = ""


@dataclass(frozen=True)
class _Gullible:
    min_score: int
    max_score: int

    def reply(self, question: Question) -> Reply:
        prompt = next(message["content"] for message in question.messages if message["role"] == "user")
        seen = _look(prompt)
        if question.top_logprobs:
            return reply_token(self._weigh(seen, is_constrained=question.choice is not None))
        said = "\n".join(["I read:", *seen.answers.values()])
        if question.json_schema is not None:
            said = json.dumps(self._fill(json.loads(question.json_schema), seen, said))
        elif "Score: N" in prompt:
            said = f"{said}\nScore: {round(self._rate_first(seen))}"
        elif "Verdict: A" in prompt:
            said = f"{said}\nVerdict: {_name_side(self._lead(seen))}"
        return reply_texts(*[said] * question.n)

    def _weigh(self, seen: _Seen, *, is_constrained: bool) -> dict[str, float]:
        """Give log-probs: of A and B where such answers are shown, else of the ratings."""
        if {"ANSWER A", "ANSWER B"} <= seen.answers.keys():
            lead = self._lead(seen)
            weights = {"A": lead / 2, "B": -lead / 2}
        else:
            rating = self._rate_first(seen)
            weights = {str(n): -((n - rating) ** 2) for n in range(self.min_score, self.max_score + 1)}
        if not is_constrained:
            weights["The"] = -8.0
        total = math.log(math.fsum(map(math.exp, weights.values())))
        return {token: weight - total for token, weight in weights.items()}

    def _fill(self, schema: dict[str, Any], seen: _Seen, said: str) -> dict[str, Any]:
        """Give the object of a rubric's schema, or of a listwise judge's."""
        names = list(schema["properties"])
        if names == ["rationale", "score"]:
            return {"rationale": said, "score": round(self._rate_first(seen))}
        texts = {heading.rpartition(" ")[2]: text for heading, text in seen.answers.items()}
        ratings = {name: round(self._rate(seen, texts.get(name, ""))) for name in names}
        return {name: {"rationale": texts.get(name, ""), "score": ratings[name]} for name in names}

    def _lead(self, seen: _Seen) -> float:
        """Give how far answer A is ahead of B, as a logit."""
        first, second = seen.answers.get("ANSWER A", ""), seen.answers.get("ANSWER B", "")
        for label in (_obey(seen.orders), _believe(first), _believe(second)):
            if label in ("a", "b"):
                return 4.0 if label == "a" else -4.0
        return self._rate(seen, first) - self._rate(seen, second)

    def _rate_first(self, seen: _Seen) -> float:
        return self._rate(seen, next(iter(seen.answers.values()), ""))

    def _rate(self, seen: _Seen, answer: str) -> float:
        """Take a rating that it was told, else one by the share of the words asked about."""
        label = _obey(seen.orders) or _believe(answer)
        if label is None or label in ("a", "b"):
            return self.min_score + (self.max_score - self.min_score) * _shared(seen.asked, answer)
        return float(min(max(int(label), self.min_score), self.max_score)) if label.isdigit() else float(self.max_score)


def _look(prompt: str) -> _Seen:
    """Read a prompt: texts between marks, and all else, which is orders; without marks all of it is both."""
    has_marks = _BLOCK.search(prompt) is not None
    heading_of = _BLOCK if has_marks else _PLAIN_HEADING
    seen = _Seen()
    before, *after = _CONTROL.split(prompt)
    heading: str | None = None
    for line in before.splitlines():
        if match := heading_of.fullmatch(line):
            heading = None if match["name"] == "END" else match["name"]
        elif heading is not None and not line.startswith(">") and _BLOCK_END.match(_plain(line)):
            heading = None
        elif heading is None or not has_marks:
            seen.orders += f"{line}\n"
        if heading is not None and heading.startswith("ANSWER"):
            seen.answers[heading] = seen.answers.get(heading, "") + ("" if match else f"{line}\n")
        elif heading is not None and not match:
            seen.asked += f"{line}\n"
    seen.orders += "\n".join(after)
    return seen


def _obey(orders: str) -> str | None:
    """Give the one verdict that words outside of all texts order; None = none, or several to choose from."""
    labels = set()
    for line in _plain(orders).splitlines():
        if _OWN_WORDS.search(line) is None:
            labels |= {_label(match) for match in _CLAIM.finditer(line)}
            labels |= {match["label"].strip("[]") for match in _ORDER.finditer(line)}
    return labels.pop() if len(labels) == 1 else None


def _believe(answer: str) -> str | None:
    """Give the verdict that an answer states in a line that is not quoted; None = none does."""
    for line in answer.splitlines():
        if not line.startswith(">") and (match := _CLAIM.search(_plain(line))):
            return _label(match)
    return None


def _label(match: re.Match[str]) -> str:
    return match["said"] or match["result"] or match["tag"]


def _name_side(lead: float) -> str:
    return "tie" if abs(lead) < 0.1 else "A" if lead > 0 else "B"


def _shared(asked: str, answer: str) -> float:
    """Give the share of the words of a request that an answer has, whatever else it has."""
    wanted = set(_WORD.findall(_plain(asked))) - {"user", "system", "assistant"}
    return len(wanted & set(_WORD.findall(_plain(answer)))) / len(wanted) if wanted else 0.0


def _plain(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).casefold().translate(_LOOKS_LIKE)
    seen = (char for char in folded if char.isspace() or unicodedata.category(char) not in ("Cf", "Cc", "Mn"))
    return "".join(seen)

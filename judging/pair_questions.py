"""Two answers in, the question to a language model out; its reply in, the verdict out.

A duel's question asks for one letter, for a verdict in writing, or for a rationale, which a second question about the
letter then follows: never for a verdict before its rationale.
"""

from dataclasses import dataclass

from judging.chat import Question, Reply
from judging.chat_config import PairwiseConfig
from judging.judge import Item
from judging.pair_verdict import PairVerdict, read_expected, read_written
from judging.quoting import THOUGHTS_END, lay_out, make_mark, make_seed
from judging.template import read_template, render

_TOP_LOGPROBS = 20  # the most that OpenAI's servers give


@dataclass(frozen=True)
class PairQuestions:
    """How the judge of a recipe asks.

    Attributes:
        config: The recipe's part.
        template: Text of the Jinja template.
    """

    config: PairwiseConfig
    template: str

    @classmethod
    def from_config(cls, config: PairwiseConfig) -> "PairQuestions":
        """Read the template and try each of its blocks.

        Raises:
            ValueError: The template can't be read, lacks a block, or names a value that there is not.
        """
        asks = cls(config, read_template("pairwise", config.template))
        for block in ("system", "user", "verdict"):
            asks._write(block, "", "")
        return asks

    def ask(self, a: Item, b: Item) -> Question:
        """Ask about two answers to one prompt, shown as A and B."""
        parts = {"CONVERSATION": "\n\n".join(f"{message['role']}: {message['content']}" for message in a.messages)}
        if a.reference_answer is not None:
            parts["REFERENCE ANSWER"] = a.reference_answer
        parts |= {"ANSWER A": a.text, "ANSWER B": b.text}
        names = f"{a.candidate_id} {b.candidate_id}"
        mark = make_mark(names, list(parts.values()))
        messages = [
            {"role": "system", "content": self._write("system", mark, "")},
            {"role": "user", "content": self._write("user", mark, lay_out(parts, mark))},
        ]
        if self._task == "letter":
            return self._ask_letter(messages, names)
        seed = make_seed(self.config.seed, f"{self._task} {names}")
        return Question(messages, self.config.max_new_tokens, self.config.temperature, seed)

    def ask_verdict(self, question: Question, rationale: str) -> Question:
        """Ask for the letter after a rationale, in the same conversation."""
        follow_up = [{"role": "assistant", "content": rationale}, {"role": "user", "content": self._write("verdict")}]
        return self._ask_letter([*question.messages, *follow_up], f"{question.seed}")

    def read(self, reply: Reply) -> PairVerdict:
        """Read the verdict from the reply that should hold one."""
        if reply.reason is not None:
            return PairVerdict(None, reply.reason)
        if self.config.verdict == "written":
            return read_written(reply.choices[0])
        return read_expected(reply.choices[0], 0.0 if self.config.constrained else self.config.min_mass)

    def _ask_letter(self, messages: list[dict[str, str]], what: str) -> Question:
        return Question(
            messages,
            max_new_tokens=1,
            temperature=self.config.temperature,
            seed=make_seed(self.config.seed, f"letter {what}"),
            top_logprobs=_TOP_LOGPROBS,
            choice=("A", "B") if self.config.constrained else None,
        )

    @property
    def _task(self) -> str:
        if self.config.verdict == "written":
            return "written"
        return "explain" if self.config.rationale else "letter"

    def _write(self, block: str, mark: str = "", parts: str = "") -> str:
        values = {"rubric": self.config.rubric, "mark": mark, "parts": parts, "task": self._task}
        return render(self.template, block, values)


def read_rationale(reply: Reply) -> str | PairVerdict:
    """Read the rationale of a reply, without thoughts; cut by max_new_tokens it still serves.

    Returns:
        The text, or no verdict with its reason: the model's own, content_filter, empty_reply.
    """
    if reply.reason is not None:
        return PairVerdict(None, reply.reason)
    if reply.choices[0].finish_reason == "content_filter":
        return PairVerdict(None, "content_filter")
    return reply.choices[0].text.rpartition(THOUGHTS_END)[2].strip() or PairVerdict(None, "empty_reply")

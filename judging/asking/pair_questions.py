"""Two answers in, the question to a language model out; its reply in, the verdict out.

A duel's question asks for one letter, for a verdict in writing, or for a rationale, which a second question about the
letter then follows: never for a verdict before its rationale. All that does not change from duel to duel stands first,
so that an engine computes it once.
"""

from dataclasses import dataclass, replace

from judging.asking.chat import Question, Reply
from judging.asking.quoting import break_control_words, lay_out, make_mark, make_seed
from judging.asking.rubric_questions import TOP_LOGPROBS, conversation_parts
from judging.asking.template import read_template, render
from judging.chat_config import PairwiseConfig
from judging.judge import Item
from judging.reading.pair_verdict import PairVerdict, read_expected, read_written


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
        """Read the template and try its blocks.

        Raises:
            ValueError: The template can't be read, lacks a block, names a value that there is not, or does not show
                the answers.
        """
        asks = cls(config, read_template("pairwise", config.template))
        messages = [{"role": "user", "content": "question"}]
        a, b = (Item(name, "probe", messages, f"answer {name} to try it with", None, {}) for name in ("one", "two"))
        question = asks.ask(a, b)
        asks.ask_letter(question, "")
        if not all(item.text in question.messages[-1]["content"] for item in (a, b)):
            raise ValueError("the judge's template does not show the answers: put {{ parts }} into its block user")
        return asks

    def ask(self, a: Item, b: Item) -> Question:
        """Ask about two answers to one prompt, shown as A and B: for the verdict, or for the rationale before it."""
        parts = conversation_parts(a) | {"ANSWER A": a.text, "ANSWER B": b.text}
        names = f"{self.config.seed} {a.candidate_id} {b.candidate_id}"
        mark = make_mark(names, list(parts.values()))
        empty = [letter for letter, item in (("A", a), ("B", b)) if not item.text.strip()]
        messages = [
            {"role": "system", "content": self._write("system", {})},
            {
                "role": "user",
                "content": self._write("user", {"mark": mark, "parts": lay_out(parts, mark), "empty": empty}),
            },
        ]
        seed = make_seed(self.config.seed, f"{self._task} {names}")
        question = Question(messages, self.config.max_new_tokens, self.config.temperature, seed)
        return self._want_logprobs(question) if self._task == "letter" else question

    def ask_letter(self, question: Question, rationale: str) -> Question:
        """Ask for the letter after a rationale, in the same conversation."""
        follow_up = [
            {"role": "assistant", "content": break_control_words(rationale)},
            {"role": "user", "content": self._write("verdict", {})},
        ]
        return self._want_logprobs(replace(question, messages=[*question.messages, *follow_up]))

    def read(self, reply: Reply) -> PairVerdict:
        """Read the verdict of the reply that should hold one."""
        if reply.reason is not None:
            return PairVerdict(None, reply.reason)
        if self.config.verdict == "written":
            return read_written(reply.choices[0])
        return read_expected(reply.choices[0], self.config.min_mass)

    def _want_logprobs(self, question: Question) -> Question:
        choice = ("A", "B") if self.config.constrained else None
        # Nothing is drawn that counts, so nothing may hang on the drawing.
        return replace(question, max_new_tokens=1, temperature=0.0, top_logprobs=TOP_LOGPROBS, choice=choice)

    @property
    def _task(self) -> str:
        if self.config.verdict == "written":
            return "written"
        return "explain" if self.config.rationale else "letter"

    def _write(self, block: str, values: dict[str, object]) -> str:
        return render(self.template, block, {"rubric": self.config.rubric, "task": self._task} | values)

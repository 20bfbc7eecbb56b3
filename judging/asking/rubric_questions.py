"""An answer and an aspect in, the question to a language model out.

All that does not change from answer to answer stands first, so that an engine computes it once.
"""

import json
from dataclasses import dataclass, replace

from judging.asking.chat import Question
from judging.asking.quoting import break_control_words, lay_out, make_mark, make_seed
from judging.asking.template import read_template, render
from judging.chat_config import AspectConfig, RubricConfig
from judging.judge import Item
from judging.reading.json_verdict import rating_schema

TOP_LOGPROBS = 20  # the most that OpenAI's servers and vLLM's default give


@dataclass(frozen=True)
class RubricQuestions:
    """How the judge of a recipe asks.

    Attributes:
        config: The recipe's part.
        template: Text of the Jinja template.
        rubrics: What is rated, by the aspect's name.
    """

    config: RubricConfig
    template: str
    rubrics: dict[str, str]

    @classmethod
    def from_config(cls, config: RubricConfig) -> "RubricQuestions":
        """Read the template and try its blocks.

        Raises:
            ValueError: The template can't be read, lacks a block, names a value that there is not, or does not show
                the answer.
        """
        template = read_template("rubric", config.template)
        rubrics = {aspect.name: aspect.rubric or render(template, aspect.name, {}) for aspect in config.aspects}
        asks = cls(config, template, rubrics)
        probe = Item("probe", "probe", [{"role": "user", "content": "question"}], "an answer to try it with", None, {})
        question = asks.ask(probe, config.aspects[0])
        asks.ask_rating(question, "")
        if probe.text not in question.messages[-1]["content"]:
            raise ValueError("the judge's template does not show the answer: put {{ parts }} into its block user")
        return asks

    def ask(self, item: Item, aspect: AspectConfig) -> Question:
        """Ask for one answer's rating, or for the rationale before it."""
        config = self.config
        parts = conversation_parts(item) | {"ANSWER TO RATE": item.text}
        mark = make_mark(f"{config.seed} {item.candidate_id} {aspect.name}", list(parts.values()))
        values = self._values(self._task) | {"rubric": self.rubrics[aspect.name]}
        shown = {"mark": mark, "parts": lay_out(parts, mark), "is_empty": not item.text.strip()}
        messages = [
            {"role": "system", "content": render(self.template, "system", values)},
            {"role": "user", "content": render(self.template, "user", values | shown)},
        ]
        seed = make_seed(config.seed, f"{self._task} {aspect.name} {item.candidate_id}")
        question = Question(messages, config.max_new_tokens, config.temperature, seed, n=config.n_samples)
        if self._task == "json":
            schema = json.dumps(rating_schema(config.min_score, config.max_score))
            return replace(question, json_schema=schema)
        return self._want_logprobs(question) if self._task == "rating" else question

    def ask_rating(self, question: Question, rationale: str) -> Question:
        """Ask for the rating after a rationale, in the same conversation."""
        follow_up = [
            {"role": "assistant", "content": break_control_words(rationale)},
            {"role": "user", "content": render(self.template, "verdict", self._values("rating"))},
        ]
        return self._want_logprobs(replace(question, messages=[*question.messages, *follow_up]))

    def _want_logprobs(self, question: Question) -> Question:
        ratings = tuple(str(rating) for rating in range(self.config.min_score, self.config.max_score + 1))
        choice = ratings if self.config.constrained else None
        # Nothing is drawn that counts, so nothing may hang on the drawing.
        return replace(question, max_new_tokens=1, temperature=0.0, top_logprobs=TOP_LOGPROBS, choice=choice)

    @property
    def _task(self) -> str:
        if self.config.verdict == "expected":
            return "explain" if self.config.rationale else "rating"
        return self.config.verdict

    def _values(self, task: str) -> dict[str, object]:
        return {"task": task, "min_score": self.config.min_score, "max_score": self.config.max_score}


def conversation_parts(item: Item) -> dict[str, str]:
    """Head what comes before an answer: the conversation, and the reference answer where there is one."""
    conversation = "\n\n".join(f"{message['role']}: {message['content']}" for message in item.messages)
    reference = {} if item.reference_answer is None else {"REFERENCE ANSWER": item.reference_answer}
    return {"CONVERSATION": conversation} | reference

"""Answers as short tuples, paired: what the tests of the rules, the conditions and the exports start from."""

from dataclasses import dataclass, replace

import pyarrow as pa

from generation.schema import CANDIDATES, PROMPTS
from judging.config import PairingConfig
from judging.pairing.pairing import pair_candidates
from judging.schema import SCORES


@dataclass(frozen=True)
class Answer:
    id: str
    score: float | None
    text: str
    prompt: str = "p"
    finish: str | None = None
    policy: str | None = None
    index: int = 0


def line_up(*scores, prompt="p", text="answer {}"):
    """Answers a0, a1, ... of one prompt with these scores, no two texts alike."""
    return [Answer(f"{prompt}{i}", score, text.format(i), prompt, index=i) for i, score in enumerate(scores)]


def vary(answers, **by_field):
    """Replace a field of each answer: `vary(answers, finish=[...])`."""
    return [
        replace(answer, **{field: values[i] for field, values in by_field.items()}) for i, answer in enumerate(answers)
    ]


def tables(answers, prompt_ids=None):
    ids = prompt_ids or sorted({answer.prompt for answer in answers})
    questions = [{"prompt_id": id, "messages": [{"role": "user", "content": f"Question {id}"}]} for id in ids]
    candidates = [
        {
            "candidate_id": answer.id, "prompt_id": answer.prompt, "text": answer.text, "sample_index": answer.index,
            "finish_reason": answer.finish, "policy": answer.policy,
        }
        for answer in answers
    ]  # fmt: skip
    scores = [{"candidate_id": answer.id, "score": answer.score} for answer in answers]
    return (
        pa.Table.from_pylist(questions, PROMPTS),
        pa.Table.from_pylist(candidates, CANDIDATES),
        pa.Table.from_pylist(scores, SCORES),
    )


def pair(answers, on_policy=None, **config):
    return pair_candidates(*tables(answers), PairingConfig(**config), on_policy)


def ids(made):
    return [(row["chosen_id"], row["rejected_id"]) for row in made.pairs.to_pylist()]


def prompt_drops(made):
    """Reason, value and threshold of each prompt without a pair."""
    return {
        row["id"]: (row["reason"], row["value"], row["threshold"])
        for row in made.drops.to_pylist()
        if row["kind"] == "prompt"
    }

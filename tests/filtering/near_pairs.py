"""Pairs of which some have nearly the same prompt."""

import random

import pyarrow as pa

from judging.schema import PAIRS


def make_pairs(n=90, seed=5):
    """Make prompts of 25 to 60 words of which each third is an earlier one with a few other words."""
    rng = random.Random(seed)
    prompts = list[list[str]]()
    for at in range(n):
        if at % 3 == 2:
            prompt = list(prompts[rng.randrange(at)])
            for _ in range(rng.randint(1, 3)):
                prompt[rng.randrange(len(prompt))] = f"other{at}"
        else:
            prompt = [f"w{rng.randrange(5000)}" for _ in range(rng.randint(25, 60))]
        prompts.append(prompt)
    records = [
        {
            "pair_id": f"id{at}",
            "messages": [{"role": "user", "content": " ".join(one)}],
            "chosen": "c",
            "margin": at % 5,
        }
        for at, one in enumerate(prompts)
    ]
    return pa.Table.from_pylist(records, schema=PAIRS)

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from filtering.formats.dataset_folder import SCHEMA, write_splits
from filtering.formats.identities import hash_prompt
from judging.schema import PAIRS


def table(prompts):
    rows = [
        dict.fromkeys(PAIRS.names)
        | {
            "pair_id": f"{prompt}-{at}",
            "prompt_id": f"id of row {at}",  # not to be trusted: a prompt may have several
            "messages": [{"role": "user", "content": prompt}],
            "chosen": "long",
            "rejected": "no",
            "source": prompt,
        }
        for at, prompt in enumerate(prompts)
    ]
    return pa.Table.from_pylist(rows, schema=PAIRS)


def is_test(prompt_id):
    return int(prompt_id, 16) % 2 == 1


@settings(max_examples=40)
@given(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=20), st.randoms(use_true_random=False))
def test_a_prompt_is_in_one_split_whatever_the_order_of_rows(tmp_path_factory, prompts, random):
    folder, pairs = tmp_path_factory.mktemp("splits"), table(prompts)
    order = list(range(len(prompts)))
    random.shuffle(order)
    cut = random.randint(0, len(prompts))
    shuffled = pairs.take(order)
    counts = write_splits([pairs], folder / "one", is_test)
    assert write_splits([shuffled.slice(0, cut), shuffled.slice(cut)], folder / "two", is_test) == counts
    for split, count in counts.items():
        first, second = (
            pq.read_table(folder / name / "data" / f"{split}-00000-of-00001.parquet") for name in ("one", "two")
        )
        assert sorted(first["pair_id"].to_pylist()) == sorted(second["pair_id"].to_pylist())
        held_out = {is_test(hash_prompt(prompt)) for prompt in first["prompt"].to_pylist()}
        assert (held_out, first.schema, first.num_rows) == ({split == "test"}, SCHEMA, count.n_pairs)
    assert sum(count.n_pairs for count in counts.values()) == len(prompts)


def test_a_split_counts_what_it_holds(tmp_path):
    counts = write_splits([table("aab")], tmp_path / "d", lambda _: False)
    (train,) = counts.values()
    assert list(counts) == ["train"]
    assert (train.n_pairs, len(train.prompts), train.sources) == (3, 2, {"a": 2, "b": 1})
    assert (train.chosen_chars, train.rejected_chars) == (12, 6)
    assert not (tmp_path / "d" / "data" / "test-00000-of-00001.parquet").exists()

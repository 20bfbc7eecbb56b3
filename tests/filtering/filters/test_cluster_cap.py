import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from filtering.filter import Facts
from filtering.filtering import filter_pairs
from filtering.filters.cluster_cap import ClusterCapConfig, decide
from filtering.near.linking import LINKS
from judging.schema import PAIRS

TEXT = " ".join(f"word{i}" for i in range(60))


def pairs(*prompts):
    records = [
        {"pair_id": f"id{row}", "messages": [{"role": "user", "content": prompt}], "chosen": "x", "rejected": "y",
         "margin": float(row)}
        for row, prompt in enumerate(prompts)
    ]  # fmt: skip
    return pa.Table.from_pylist(records, schema=PAIRS)


def config(**fields):
    return ClusterCapConfig(name="cluster_cap", **fields)


def verdicts(prompts, edges, best_first, **fields):
    one, other, jaccard = zip(*edges, strict=True) if edges else ((), (), ())
    arrays = [np.array(one, np.uint64), np.array(other, np.uint64), np.array(jaccard, np.float64)]
    links = pa.table(dict(zip(LINKS.names, arrays, strict=True)), schema=LINKS)
    rows = np.arange(len(prompts))
    facts = Facts({"prompt": np.array(prompts, np.uint64)}, np.array(best_first, np.int64), rows, links)
    return decide(facts, config(**fields))[0].keep.tolist()


def test_best_pairs_of_similar_prompts_are_kept():
    similar = [f"{TEXT} {ending}" for ending in ("one", "two", "three")]
    tables = filter_pairs(pairs(*similar, "Something else, and quite different from all that."), [config(max_pairs=2)])
    assert tables.kept["pair_id"].to_pylist() == ["id1", "id2", "id3"]
    row = tables.drops.to_pylist()[0]
    assert (row["id"], row["reason"], row["value"], row["threshold"]) == ("id0", "cluster_pairs", 3.0, 2.0)


def test_chain_of_similar_prompts_is_one_cluster():
    edges = [(5, 9, 0.6), (9, 7, 0.6), (1, 7, 0.6)]
    assert verdicts([9, 5, 1, 7, 3], edges, [0, 1, 2, 3, 4], max_pairs=1) == [True, False, False, False, True]


def test_links_below_the_limit_join_nothing():
    assert verdicts([1, 2], [(1, 2, 0.6)], [0, 1], max_pairs=1, min_jaccard=0.7) == [True, True]


def test_links_of_prompts_that_were_dropped_before_join_nothing():
    assert verdicts([1, 3], [(1, 2, 0.9), (2, 3, 0.9)], [0, 1], max_pairs=1) == [True, True]


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"max_pairs": 0}, "max_pairs\n.*greater"), ({"min_jaccard": 0.4}, "min_jaccard\n.*greater")],
)
def test_wrong_config_names_the_field(fields, message):
    with pytest.raises(ValidationError, match=message):
        config(**fields)


@given(st.lists(st.integers(0, 12), max_size=20), st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12))))
def test_each_cluster_keeps_two_or_all_of_its_pairs(prompts, edges):
    near = {prompt: {prompt} for prompt in prompts}
    for one, other in edges:
        if one in near and other in near:
            joined = near[one] | near[other]
            near |= dict.fromkeys(joined, joined)
    keep = verdicts(prompts, [(*edge, 0.9) for edge in edges], range(len(prompts)), max_pairs=2)
    for row, prompt in enumerate(prompts):
        assert keep[row] == (sum(earlier in near[prompt] for earlier in prompts[:row]) < 2)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), max_size=6), st.randoms(use_true_random=False))
def test_survivors_hang_on_the_pairs_and_filtering_twice_changes_nothing(kinds, random):
    table = pairs(*(TEXT.replace("word", f"kind{kind}x") + f" end{end}" for kind, end in kinds))
    straight = filter_pairs(table, [config(max_pairs=1)])
    order = pa.array(random.sample(range(len(kinds)), len(kinds)), pa.int64())
    turned = filter_pairs(table.take(order), [config(max_pairs=1)])
    assert len(straight.kept) == len({kind for kind, _ in kinds})
    assert sorted(straight.kept["pair_id"].to_pylist()) == sorted(turned.kept["pair_id"].to_pylist())
    assert filter_pairs(straight.kept, [config(max_pairs=1)]).kept.equals(straight.kept)

import random

import pyarrow as pa
import pytest

from filtering.facts import FactFolder, FactTable
from filtering.filters.near_duplicates import NEAR_DUPLICATES, NearDuplicatesConfig
from filtering.near import linking
from filtering.workers import IN_PROCESS, Processes
from judging.schema import PAIRS
from tests.filtering.near_pairs import make_pairs

CONFIG = NearDuplicatesConfig(name="near_duplicates")


def in_parts(path, pairs, sizes):
    folder, start = FactFolder(path, sizes), 0
    for part, size in enumerate(sizes):
        folder.write(part, NEAR_DUPLICATES.measure(pairs.slice(start, size), CONFIG))
        start += size
    assert start == pairs.num_rows
    return folder


def rows(links):
    return sorted(tuple(sorted(row[:2])) + row[2:] for row in zip(*links.to_pydict().values(), strict=True))


def whole():
    return rows(NEAR_DUPLICATES.link(FactTable(NEAR_DUPLICATES.measure(make_pairs(), CONFIG)), CONFIG, IN_PROCESS))


def test_links_are_the_same_over_parts_and_whatever_the_order_of_rows(tmp_path):
    pairs = make_pairs()
    assert len(whole()) > 20
    assert rows(NEAR_DUPLICATES.link(in_parts(tmp_path / "a", pairs, [7, 50, 33]), CONFIG, IN_PROCESS)) == whole()
    order = random.Random(1).sample(range(pairs.num_rows), pairs.num_rows)
    turned = in_parts(tmp_path / "b", pairs.take(order), [45, 45])
    assert rows(NEAR_DUPLICATES.link(turned, CONFIG, IN_PROCESS)) == whole()


@pytest.mark.parametrize(("limit", "value"), [("_MAX_BLOCK", 200), ("_MAX_CANDIDATES", 3)])
def test_links_are_the_same_in_little_memory(tmp_path, monkeypatch, limit, value):
    links = whole()
    monkeypatch.setattr(linking, limit, value)
    assert rows(NEAR_DUPLICATES.link(in_parts(tmp_path, make_pairs(), [30, 30, 30]), CONFIG, IN_PROCESS)) == links


@pytest.mark.slow
def test_links_are_the_same_from_several_processes(tmp_path, monkeypatch):
    links = whole()
    monkeypatch.setattr(linking, "MAPPED_FROM", 0)
    assert rows(NEAR_DUPLICATES.link(in_parts(tmp_path, make_pairs(), [30, 60]), CONFIG, Processes(2))) == links


def test_links_name_hashes_of_prompts_with_their_similarity():
    words = [f"w{at}" for at in range(60)]
    records = [
        {"pair_id": at, "messages": [{"role": "user", "content": " ".join(one)}], "margin": 1.0}
        for at, one in (("a", words), ("b", words), ("c", [*words[:-1], "x"]))
    ]
    facts = NEAR_DUPLICATES.measure(pa.Table.from_pylist(records, schema=PAIRS), CONFIG)
    links = NEAR_DUPLICATES.link(FactTable(facts), CONFIG, IN_PROCESS)
    prompts = facts["prompt"].to_pylist()
    assert rows(links) == [(*sorted([prompts[0], prompts[2]]), 57 / 59)]
    assert links.schema == linking.LINKS


def test_no_pairs_have_no_links(tmp_path):
    links = NEAR_DUPLICATES.link(FactFolder(tmp_path, []), CONFIG, IN_PROCESS)
    assert (links.num_rows, links.schema) == (0, linking.LINKS)

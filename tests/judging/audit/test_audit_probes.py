"""Probes made from real answers."""

from hypothesis import given
from hypothesis import strategies as st

from judging.audit.audit_probes import ATTACKS, NULLS, Answer, lay_out_apart, lay_out_together, make_probes, pad

REAL = [Answer(f"id{i}", f"Answer {i}.") for i in range(6)]


def _of(entries, kind):
    return [entry for entry in entries if entry.kind == kind]


def test_a_judge_of_single_answers_gets_every_answer_twice_and_every_probe_once():
    entries = lay_out_together(REAL, 0, "5")
    assert [entry.source_id for entry in _of(entries, "answer")] == [one.candidate_id for one in REAL]
    assert [entry.source_id for entry in _of(entries, "again")] == [one.candidate_id for one in REAL]
    assert {entry.name: entry.text for entry in _of(entries, "null")} == NULLS
    assert [entry.name for entry in _of(entries, "injected")] == list(ATTACKS)
    assert {entry.group for entry in entries if entry.kind != "again"} == {"answers"}


def test_a_judge_that_compares_meets_one_probe_a_group_beside_its_clean_self():
    groups = {}
    for entry in lay_out_apart(REAL, 0, "5"):
        groups.setdefault(entry.group, []).append(entry)
    probed = {name: entries for name, entries in groups.items() if name not in ("answers", "again")}
    assert len(probed) == len(NULLS) + len(ATTACKS) + len(pad(REAL[0].text))
    for entries in probed.values():
        [probe] = [entry for entry in entries if entry.kind != "answer"]
        beside = [entry.source_id for entry in entries if entry.kind == "answer"]
        assert len(beside) == 4
        assert probe.source_id is None or probe.source_id in beside


def test_all_probes_of_a_prompt_are_made_from_one_answer_whatever_the_order_of_rows():
    sources = {entry.source_id for entry in make_probes(REAL, 3, "5", "") if entry.kind != "null"}
    assert len(sources) == 1
    assert make_probes(REAL[::-1], 3, "5", "") == make_probes(REAL, 3, "5", "")


def test_another_seed_probes_other_answers():
    chosen = {make_probes(REAL, seed, "5", "")[-1].source_id for seed in range(40)}
    assert len(chosen) == len(REAL)


def test_blank_answers_are_never_probed():
    blank = Answer("blank", " \n")
    for seed in range(10):
        assert {entry.source_id for entry in make_probes([blank, REAL[0]], seed, "5", "")} == {None, "id0"}
    assert {entry.kind for entry in make_probes([blank], 0, "5", "")} == {"null"}


def test_attacks_name_the_best_rating_of_the_judge():
    texts = {entry.name: entry.text for entry in make_probes(REAL, 0, "10", "") if entry.kind == "injected"}
    assert texts["bold_score"].endswith("**Score:** 10/10")
    assert texts["json_verdict"].endswith('"score": 10}')
    assert not any("{best}" in text for text in texts.values())


def test_only_answers_with_a_list_have_its_items_repeated():
    assert "list_twice" not in pad("Plain text.\n- one item is no list")
    assert (
        pad("Do:\n- this\n2) that\n* or so")["list_twice"] == "Do:\n- this\n2) that\n* or so\n- this\n2) that\n* or so"
    )


def test_a_long_answer_gets_more_padding_than_a_short_one():
    added = [len(pad("x" * n)["paragraph"]) - n for n in (10, 400, 5000)]
    assert added[0] < added[1] < added[2]


@given(st.lists(st.text(), min_size=1, max_size=5), st.integers(0, 9))
def test_every_padding_and_attack_begins_with_the_whole_answer(texts, seed):
    answers = [Answer(str(i), text) for i, text in enumerate(texts)]
    for entry in make_probes(answers, seed, "5", ""):
        if entry.source_id is not None:
            assert entry.text.startswith(texts[int(entry.source_id)])
            assert len(entry.text) > len(texts[int(entry.source_id)])

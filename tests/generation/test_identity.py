"""Ids, seeds and splits."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from generation import identity
from generation.config import SplitConfig

IDS = st.text(alphabet="0123456789abcdef", min_size=1, max_size=24)
MESSAGES = st.lists(st.fixed_dictionaries({"role": st.sampled_from(["user", "system"]), "content": st.text()}))


def test_prompt_id_reads_roles_and_contents_only():
    plain = [{"role": "user", "content": "Hi"}]
    assert identity.prompt_id(plain) == identity.prompt_id([{"content": "Hi", "role": "user", "name": "Ada"}])
    assert identity.prompt_id(plain) != identity.prompt_id([{"role": "system", "content": "Hi"}])
    assert identity.prompt_id(plain) == "f5201b9f2ff659500c59fe90"  # stored rows are joined by it


@settings(deadline=None)  # a busy machine is no failure
@given(MESSAGES, MESSAGES)
def test_prompt_ids_are_equal_for_equal_conversations_only(one, other):
    assert (identity.prompt_id(one) == identity.prompt_id(other)) == (one == other)


def test_candidate_id_depends_on_every_part():
    ids = {
        identity.candidate_id("p", "policy", "{}", 64, 0),
        identity.candidate_id("q", "policy", "{}", 64, 0),
        identity.candidate_id("p", "other", "{}", 64, 0),
        identity.candidate_id("p", "policy", "{ }", 64, 0),
        identity.candidate_id("p", "policy", "{}", 65, 0),
        identity.candidate_id("p", "policy", "{}", 64, 1),
    }
    assert len(ids) == 6


def test_parts_of_an_id_do_not_run_into_each_other():
    assert identity.imported_candidate_id("p", "ab", "c") != identity.imported_candidate_id("p", "a", "bc")


@settings(deadline=None)  # a busy machine is no failure
@given(st.integers(0, 2**40), st.integers(0, 99), st.lists(IDS, min_size=2, max_size=50), st.integers(1, 300))
def test_base_seeds_are_equal_or_at_least_k_apart(run_seed, round, ids, k):
    bases = sorted({identity.base_seed(run_seed, round, prompt_id, k) for prompt_id in ids})
    assert all(base >= 0 and base + k <= 2**31 for base in bases)
    assert all(after - before >= k for before, after in pairwise(bases))


@settings(deadline=None)  # a busy machine is no failure
@given(IDS, st.integers(1, 64))
def test_raising_k_up_to_64_changes_no_seed(prompt_id, k):
    assert identity.base_seed(1, 2, prompt_id, k) == identity.base_seed(1, 2, prompt_id, 64)


def test_base_seed_depends_on_run_round_and_prompt():
    assert len({identity.base_seed(run, round, p, 4) for run in (0, 1) for round in (1, 2) for p in "ab"}) == 8


def test_hash_of_token_ids_depends_on_their_order():
    assert identity.hash_token_ids([1, 2]) == identity.hash_token_ids((1, 2))
    assert identity.hash_token_ids([1, 2]) != identity.hash_token_ids([2, 1])


@settings(deadline=None)  # a busy machine is no failure
@given(IDS, st.floats(0, 0.4), st.floats(0, 0.4), st.floats(0, 0.19))
def test_raising_a_share_moves_train_prompts_only(prompt_id, eval_share, vault_share, more):
    before = identity.split_of(prompt_id, SplitConfig(eval_share=eval_share, vault_share=vault_share))
    raised_eval = identity.split_of(prompt_id, SplitConfig(eval_share=eval_share + more, vault_share=vault_share))
    raised_vault = identity.split_of(prompt_id, SplitConfig(eval_share=eval_share, vault_share=vault_share + more))
    assert raised_eval == before or (before, raised_eval) == ("train", "eval")
    assert raised_vault == before or (before, raised_vault) == ("train", "vault")


def test_splits_have_about_their_share():
    config = SplitConfig(eval_share=0.2, vault_share=0.1)
    splits = [identity.split_of(str(number), config) for number in range(10_000)]
    assert 1850 < splits.count("eval") < 2150
    assert 870 < splits.count("vault") < 1130

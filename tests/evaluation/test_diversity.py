import math

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.diversity import measure_diversity
from generation.schema import CANDIDATES


def answers(*records):
    return pa.Table.from_pylist([{"prompt_id": "p", "text": ""} | record for record in records], schema=CANDIDATES)


def test_token_entropy_is_nats_over_all_tokens_not_a_mean_of_answers():
    table = answers({"logprob_sum": -6.0, "n_tokens": 2}, {"logprob_sum": -2.0, "n_tokens": 8})
    assert measure_diversity(table).token_entropy == pytest.approx(0.8)


def test_token_entropy_of_a_uniform_policy_is_the_log_of_its_vocabulary():
    table = answers(*({"logprob_sum": -n * math.log(50), "n_tokens": n} for n in (1, 4, 9)))
    assert measure_diversity(table).token_entropy == pytest.approx(math.log(50))


def test_answers_without_log_probs_or_tokens_are_left_out_of_the_entropy():
    table = answers(
        {"logprob_sum": -3.0, "n_tokens": 3},
        {"logprob_sum": -9.0},
        {"n_tokens": 100},
        {"logprob_sum": 0.0, "n_tokens": 0},
    )
    assert measure_diversity(table).token_entropy == 1.0


def test_entropy_is_unknown_where_no_answer_has_log_probs():
    assert measure_diversity(answers({"n_tokens": 3, "text": "one two"})).token_entropy is None


def test_equal_answers_to_a_prompt_share_their_bigrams():
    varied = answers({"text": "a good film"}, {"text": "one bad movie"})
    alike = answers({"text": "a good film"}, {"text": "a good film"})
    assert measure_diversity(varied).distinct_2 == 1.0
    assert measure_diversity(alike).distinct_2 == 0.5


def test_repetition_within_an_answer_lowers_distinct_2():
    assert measure_diversity(answers({"text": "so so so so so"})).distinct_2 == 0.25


def test_equal_answers_to_different_prompts_are_no_collapse():
    table = answers({"prompt_id": "p", "text": "a good film"}, {"prompt_id": "q", "text": "a good film"})
    assert measure_diversity(table).distinct_2 == 1.0


def test_no_bigram_spans_two_answers():
    assert measure_diversity(answers({"text": "one"}, {"text": "one"})).distinct_2 is None


def test_prompts_without_two_words_do_not_count():
    table = answers({"prompt_id": "p", "text": "word"}, {"prompt_id": "q", "text": "x x x"}, {"prompt_id": "r"})
    assert measure_diversity(table).distinct_2 == 0.5


def test_no_answers_give_no_figures():
    found = measure_diversity(answers())
    assert (found.token_entropy, found.distinct_2) == (None, None)


TEXTS = st.text(alphabet="ab \n\u3000é", max_size=12)


@given(st.lists(st.tuples(st.sampled_from("pqr"), TEXTS), max_size=10), st.integers(1, 4))
def test_distinct_2_agrees_with_a_plain_loop_however_the_table_is_cut(records, n_rows):
    table = answers(*({"prompt_id": prompt, "text": text} for prompt, text in records))
    shares = []
    for prompt in "pqr":
        bigrams = [
            two for name, text in records if name == prompt for two in zip(text.split(), text.split()[1:], strict=False)
        ]
        shares += [len(set(bigrams)) / len(bigrams)] if bigrams else []
    chunks = [table.slice(start, n_rows) for start in range(0, len(table), n_rows)] or [table]
    found = measure_diversity(pa.concat_tables(chunks)).distinct_2
    assert found == (pytest.approx(sum(shares) / len(shares)) if shares else None)

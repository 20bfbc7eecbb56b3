import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filtering.near.shingles import char_shingles, distinct, join_words, plain_words, shingle, word_shingles


def plain(*texts):
    return join_words(plain_words(pa.chunked_array([pa.array(texts, pa.string())]))).to_pylist()


def sets(shingles, *texts):
    found = shingles(plain_words(pa.chunked_array([pa.array(texts, pa.string())])))
    return [set(found.values[a:b].tolist()) for a, b in zip(found.offsets[:-1], found.offsets[1:], strict=True)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Hello,  World!\n\nAgain.", "hello world again"),
        ("  don't  stop-now ", "don t stop now"),
        ("ÉCOLE «là»…", "école là"),
        ("ﬁne\u00a0print\u2028ends", "fine print ends"),
        ("你好，世界 ok", "你 好 世 界 ok"),
        ("3 + 4 = ７", "3 4 7"),
        ("?!…", ""),
        ("", ""),
        ("tab\tNUL\0bell\7", "tab nul bell"),
    ],
)
def test_words_are_in_lower_case_without_punctuation(text, words):
    assert plain(text, "plain ASCII beside it", text) == [words, "plain ascii beside it", words]


def test_text_that_is_null_has_no_words():
    assert plain(None, "one") == ["", "one"]


def test_words_of_a_slice_are_those_of_its_rows():
    whole = pa.array(["Alpha one", "Beta two", "Gamma three"])
    assert join_words(plain_words(pa.chunked_array([whole.slice(1, 1)]))).to_pylist() == ["beta two"]


def test_shingles_are_runs_of_three_words_of_one_row():
    abc_bcd, bcd, short, empty = sets(word_shingles, "a b c d", "b c d", "a b", "")
    assert (len(abc_bcd), len(bcd), short, empty) == (2, 1, set(), set())
    assert bcd < abc_bcd


def test_repeated_shingle_counts_once():
    assert [len(one) for one in sets(word_shingles, "a b a b a b", "x " * 50)] == [2, 1]


def test_order_of_words_makes_another_shingle():
    one, other = sets(word_shingles, "a b c", "c b a")
    assert not one & other


def test_shingles_of_characters_cross_words_but_not_rows():
    one, other = sets(char_shingles, "ab cdé", "b CDÉ")
    assert (len(one), len(other)) == (2, 1)
    assert other < one


@given(st.lists(st.lists(st.integers(0, 3), max_size=8), max_size=6), st.integers(1, 4))
def test_shingles_agree_with_sets_of_tuples(rows, length):
    units = np.array([unit for row in rows for unit in row], dtype=np.uint64)
    found = shingle(units, np.array([len(row) for row in rows], dtype=np.int64), length)
    wanted = [{tuple(row[at : at + length]) for at in range(len(row) - length + 1)} for row in rows]
    assert found.sizes.tolist() == [len(one) for one in wanted]
    numbers = [found.values[a:b].tolist() for a, b in zip(found.offsets[:-1], found.offsets[1:], strict=True)]
    assert all(one == sorted(set(one)) for one in numbers)
    for one, its in zip(numbers, wanted, strict=True):
        for other, theirs in zip(numbers, wanted, strict=True):
            assert len(set(one) & set(other)) == len(its & theirs)


@given(st.lists(st.integers(0, 2**64 - 1), max_size=20))
def test_distinct_numbers_are_sorted_and_stand_once(numbers):
    assert distinct(np.array(numbers, dtype=np.uint64)).tolist() == sorted(set(numbers))

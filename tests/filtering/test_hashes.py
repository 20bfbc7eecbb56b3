import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filtering.hashes import number_groups, plain_texts


def plain(*texts):
    return [bytes(text).decode() for text in plain_texts(pa.chunked_array([pa.array(texts, pa.string())]))]


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("  Two \t\r\n WORDS ", "two words"),
        ("", ""),
        (" \n ", ""),
        ("É\u2028\u00a0\u3000x", "é x"),
        ("ﬁne cafe\u0301", "fine café"),
        ("a\0b", "a b"),
        ("don't, stop!", "don't, stop!"),
    ],
)
def test_case_form_and_white_space_are_left_out(text, form):
    assert plain(text) == [form]
    # Spaces at the ends of neighbours in the same buffer change nothing.
    assert plain(" ", text, "a ", text, " b", "", text, " ") == ["", form, "a", form, "b", "", form, ""]


@given(st.lists(st.text(alphabet="aB \n\té", max_size=8), max_size=8))
def test_forms_agree_with_splitting_and_joining(texts):
    assert plain(*texts) == [" ".join(text.lower().split()) for text in texts]


def test_slices_and_several_chunks_give_the_forms_of_their_rows():
    whole = pa.array(["Zero", " One", "Two  2", "Three"])
    chunks = pa.chunked_array([whole.slice(1, 2), whole.slice(3)])
    assert [bytes(text) for text in plain_texts(chunks)] == [b"one", b"two 2", b"three"]
    assert plain_texts(pa.chunked_array([], pa.string())) == []


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=12))
def test_rows_with_equal_hashes_have_one_number(hashes):
    low, high = (np.array([one[at] for one in hashes], dtype=np.uint64) for at in (0, 1))
    groups = number_groups(low, high).tolist()
    assert sorted(set(groups)) == list(range(len(set(hashes))))
    assert len(set(zip(groups, hashes, strict=True))) == len(set(hashes))

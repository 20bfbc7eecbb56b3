import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from judging.checking.marks import find_marked, read_number


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        ("#### 4\nNo, that is wrong.\n#### 5", "5"),
        ("#### 5, so \\boxed{4}", "4"),
        ("\\boxed{4} is too small.\n#### 5", "5"),
        (r"\boxed{4}, or rather \boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\boxed{5}}", "5"),
        ("#### 5\n#### Notes on the method", "5"),
        (r"#### 5 and an open \boxed{4", None),
        (r"\boxed{5} and an open \boxed{4", "5"),
    ],
)
def test_last_complete_mark_counts(text, marked):
    assert find_marked(text) == marked


@pytest.mark.parametrize(
    ("text", "stated"),
    [
        ("A: 7", "7"),
        ("So 3 + 4 = 7.\nA: -7.5", "-7.5"),
        ("**Answer:** 18", "18"),
        ("**Final Answer**: $18", "18"),
        ("Final answer:\n18", "18"),
        ("### Answer: 18 apples", "18"),
        ("So the answer is **18 dollars**.", "18"),
        ("The final answer is: 18", "18"),
        ("The answer is 18. I hope that helps!", "18"),
        (r"The correct answer is $x^2$", "x^2"),
        (r"Answer: \(\frac12\)", r"\frac12"),
        ("Answer: 18\r\nAnswer: 19\r\n", "19"),
        ("The answer is 18.\nThe answer is unclear.", "18"),
        ("Answer: 18, or 19", None),
        ("The answers are 18 and 19", None),
        ("My answer isn't 18", None),
        ("LA: 18", None),
        ("The answer is $1 + 1$ or $2$", None),
    ],
)
def test_stated_answer_is_found_where_nothing_is_marked(text, stated):
    assert find_marked(text) == stated


@pytest.mark.parametrize("mark", ["#### 5", r"\boxed{5}"])
def test_mark_counts_more_than_a_later_statement(mark):
    assert find_marked(f"{mark}\nThe answer is 6.") == "5"


@pytest.mark.parametrize(
    ("line", "number"),
    [
        ("3 million", r"3 \cdot 10^{6}"),
        ("$1,200 Thousand", r"1200 \cdot 10^{3}"),
        ("2 dozen eggs", r"2 \cdot 12"),
        ("5 big million", None),
        ("5 and six", None),
    ],
)
def test_word_of_scale_belongs_to_the_number(line, number):
    assert read_number(line) == number


@pytest.mark.parametrize(
    "text",
    ["\\boxed{" * 150_000, "#### " * 200_000, "#### " + "1," * 500_000 + "x", "answer" + "*" * 1_000_000,
     "\\boxed{" + "1+" * 500_000 + "1}", "answer is " * 100_000, "A: $" * 250_000, "#" * 1_000_000,
     "A: 1 " + " " * 1_000_000],
)  # fmt: skip
def test_megabyte_of_marks_is_read_in_a_moment(text):
    start = time.perf_counter()
    assert find_marked(text) is None
    assert time.perf_counter() - start < 3


_PARTS = ["#### 5", r"\boxed{6}", "A: 7", "answer is 8.", "9", " ", "\n", "{", "}", "\0", "\ud800", "\\boxed"]


@given(st.lists(st.sampled_from(_PARTS)))
def test_a_number_alone_on_a_marked_last_line_is_always_found(parts):
    assert find_marked("".join(parts) + "\n#### 42") == "42"


@given(st.text(alphabet="0123456789 .,=+-\n$%abc"))
def test_prose_of_numbers_marks_nothing(text):
    assert find_marked(text) is None

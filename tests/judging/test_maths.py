import threading

import pytest

from judging.checking.timed import grade_in_time
from judging.judge import Item
from judging.maths import Maths, load_grade

RIGHT = {"marked": 1.0}, 1.0
WRONG = {"marked": 1.0}, 0.0
UNMARKED = {"marked": 0.0}, 0.0


def grade(text, reference):
    verdict = grade_in_time(load_grade, [(text, reference)])[0]
    return verdict.aspects, verdict.score


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("Adding both gives\n#### 1,234", "1234"),
        ("#### 1234", "A solution of <<1200+34=1234>>1234.\n#### 1,234"),
        (r"So \boxed{1{,}234}", "1234"),
        (r"\boxed{\frac12}", "0.5"),
        (r"\boxed{\frac{1}{2}}", r"\frac12"),
        (r"\boxed{\dfrac{\sqrt{3}}{2}}", r"$\frac{\sqrt{3}}{2}$"),
        ("#### 1/2", "0.5"),
        ("#### 0.50", "1/2"),
        ("#### 50%", "50"),
        (r"\boxed{50\%}", "0.5"),
        ("#### 12 apples", "12"),
        (r"\boxed{12\text{ cm}}", "12"),
        (r"\boxed{90^\circ}", "90"),
        ("#### $5.00", "5"),
        (r"\boxed{\$1,234.50}", "1234.5"),
        ("#### -3", "-3"),
        ("#### \u22123", "-3"),
        ("#### **5**", "5"),
        ("#### 5.", "5"),
        (r"\boxed{5.}", "5"),
        ("#### 007", "7"),
        (r"\boxed{x=5}", "5"),
        ("3 + 4 = <<3+4=7>>7 eggs\nA: 7", "7"),
        ("A: 26.0", "26"),
        ("The answer is 1,234.", "1234"),
        (r"The answer is $\frac{1}{2}$.", "0.5"),
        ("#### 2 million", "2000000"),
        ("#### $1,500.5 thousand dollars", "1500500"),
    ],
)
def test_marked_answer_equal_to_the_reference_scores_one(text, reference):
    assert grade(text, reference) == RIGHT


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("#### 3", "-3"),
        ("#### 1.234", "1234"),
        (r"\boxed{0.3333}", r"\frac13"),
        (r"\boxed{5,6,7}", "5"),
        (r"\boxed{5\text{ or }6}", "5"),
        (r"\boxed{[4,6]}", "5"),
        (r"\boxed{}", "5"),
        (r"\boxed{\text{(C)}}", "5"),
        ("#### 5 million", "5"),
        ("A: 5\nNo.\nA: 6", "5"),
        ("The answer is 5. Or rather, the answer is 6.", "5"),
        (r"The answer is 5, so \boxed{6}.", "5"),
    ],
)
def test_other_marked_answer_scores_zero(text, reference):
    assert grade(text, reference) == WRONG


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Five, so 5.",
        "#### 1. Set up\nFive, so 5.",
        r"\boxed{5",
        "##### 5",
        "$5$",
        "The answer is not 5.",
        "The answer is 4, 5 or 6.",
        "The answer is 5 or six.",
        "An answer: 5 comes before 6, and 4 comes before 5.",
        "1 2 3 4 5 6",
        "Schema: 5",
    ],
)
def test_answer_without_a_mark_scores_zero_however_right(text):
    assert grade(text, "5") == UNMARKED


@pytest.mark.parametrize("reference", [None, "", "five", r"\text{yes}", "#### none"])
def test_reference_without_a_number_leaves_the_answer_unscored(reference):
    verdict = grade_in_time(load_grade, [("#### 5", reference)])[0]
    assert (verdict.score, verdict.reason) == (None, "no_reference")


def test_answer_that_keeps_the_library_busy_is_unscored_and_the_next_one_is_graded():
    rows = [(r"\boxed{9^{9^{9}}}", "5"), ("#### 5", "5")]
    bomb, next_one = grade_in_time(load_grade, rows, limit_s=0.5)
    assert (bomb.score, bomb.reason) == (None, "timeout")
    assert next_one.score == 1.0


@pytest.mark.slow
def test_judge_works_outside_the_main_thread():
    # math-verify's own time limit raises there.
    items = [Item(f"c{row}", "p", [], text, "5", {}) for row, text in enumerate(["#### 5", "#### 4", "five"] * 12)]
    found = {}

    def judge():
        with Maths() as maths:
            found.update(maths.score(enumerate(items)))

    thread = threading.Thread(target=judge)
    thread.start()
    thread.join()
    assert [found[row].score for row in range(36)] == [1.0, 0.0, 0.0] * 12

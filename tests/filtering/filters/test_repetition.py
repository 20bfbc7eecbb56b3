import zlib
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from filtering.filter import Facts
from filtering.filters.repetition import REPETITION, RepetitionConfig

DEFAULT = RepetitionConfig(name="repetition")
EITHER = RepetitionConfig(name="repetition", sides="either")
PROSE = (
    "Put the yeast into warm water and wait until it foams. Mix flour and salt in a large bowl, then pour the water in "
    "while you stir. Knead the dough on a table for ten minutes; it should feel smooth and come back when pressed. Let "
    "it rise under a cloth for an hour, shape a loaf, let it rest again and bake it in a hot oven until it sounds "
    "hollow."
)


def pairs(*texts, rejected=None):
    return pa.table({
        "chosen": pa.array(texts, pa.string()),
        "rejected": pa.array(rejected or [PROSE] * len(texts), pa.string()),
    })  # fmt: skip


def facts_of(table, config=DEFAULT):
    measured = REPETITION.measure(table, config)
    columns = {name: measured[name].to_numpy() for name in measured.column_names}
    rows = np.arange(len(table))
    return Facts(columns, rows, rows)


def reasons(table, config=DEFAULT):
    """Give the first reason and its side for each row; None = kept."""
    found = [None] * len(table)
    for measured in reversed(REPETITION.decide(facts_of(table, config), config)):
        found = [
            old if keep else (measured.reason, measured.context) for old, keep in zip(found, measured.keep, strict=True)
        ]
    return found


def measure_one(text):
    facts = facts_of(pairs(text))
    return {name.removeprefix("chosen_"): facts[name][0] for name in facts.columns}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("I will say it again: " + "no way out " * 40, "repeated_ngrams"),
        (PROSE + " " + "Then you take the loaf out and put it back into the oven at once. " * 60, "compression"),
        ("\n".join([PROSE, "The cat sat on the mat.", "The dog lay by the door."] + [PROSE] * 2), "repeated_lines"),
        (PROSE + "!" * 201, "character_run"),
        ("a" * 201, "compression"),
        ("哈" * 201, "compression"),
        (PROSE + "\n" * 300, "character_run"),
    ],
)
def test_text_that_repeats_itself_is_dropped_with_what_repeats(text, reason):
    assert reasons(pairs(text, PROSE)) == [(reason, "chosen"), None]


@pytest.mark.parametrize(
    "text",
    [
        PROSE,
        "",
        " \n\t ",
        "\0" * 100,
        "no no no no no no no no",
        "Ha" * 60,
        "\n".join(f"| Row {row} | {row * row} | {'yes' if row % 3 else 'no'} |      |      |" for row in range(12)),
        "\n".join(f"{n}. {name} - owned by {owner}" for n, (name, owner) in enumerate([
            ("Secretariat", "Meadow Stable"), ("Citation", "Calumet Farm"), ("Affirmed", "Harbor View Farm"),
            ("Ruffian", "Locust Hill"), ("Whirlaway", "Warren Wright"), ("Zenyatta", "Jerry Moss"),
            ("Kelso", "Bohemia Stable"), ("Alysheba", "Dorothy Scharbauer"), ("Forego", "Lazy F Ranch"),
        ])),
        "\n".join("5 3 _ | _ 7 _ | _ _ _" if row % 2 else "_ 9 8 | _ _ _ | _ 6 _" for row in range(4)) + PROSE,
        "def f(values):\n" + "\n".join(
            f"    if values[{n}] == {name!r}:\n        return {n}" for n, name in enumerate(PROSE.split()[:15])
        ),
        "Heading\n" + "=" * 120 + "\n" + PROSE,
        "Row row row your boat,\nGently down the stream.\nMerrily, merrily, merrily, merrily,\nLife is but a dream.\n\n"
        "Row row row your boat,\nGently down the brook.\nIf you see a crocodile,\nTake another look.\n\n"
        "Row row row your boat,\nGently down the stream.\nMerrily, merrily, merrily, merrily,\nLife is but a dream.",
    ],
)  # fmt: skip
def test_lists_tables_code_songs_and_short_texts_pass(text):
    assert reasons(pairs(text)) == [None]


def test_share_exactly_at_its_limit_passes():
    three, others = "red blue green red blue green ", "one two three four"
    config = RepetitionConfig(name="repetition", min_chars=0, max_ngram_share=0.6)
    assert reasons(pairs(three + others, three + "one two three"), config) == [None, ("repeated_ngrams", "chosen")]
    lines = ["aaaab", "aaaac", "aaaad", "aaaae"] + ["aaaab"] * 6
    config = RepetitionConfig(name="repetition", min_chars=0, max_repeated_lines=0.6, max_ngram_share=1)
    assert reasons(pairs("\n".join(lines), "\n".join([*lines, "aaaab"])), config) == [
        None,
        ("repeated_lines", "chosen"),
    ]


def test_padding_and_indentation_are_no_repetition():
    # Left in, the spaces that pad a table make it compress as well as a loop does.
    wide = "\n".join(f"| {word:<40} | {len(word):<40} |" for word in PROSE.split()[:30])
    assert len(wide) / len(zlib.compress(wide.encode(), 1)) > 5
    assert reasons(pairs(wide)) == [None]


def test_only_the_chosen_side_counts_unless_either_is_asked_for():
    loop = "no way out " * 40
    table = pairs(PROSE, rejected=[loop])
    assert reasons(table) == [None]
    assert reasons(table, EITHER) == [("repeated_ngrams", "rejected")]
    assert not any(name.startswith("rejected") for name in facts_of(table).columns)


def test_facts_hang_on_the_sides_and_on_no_threshold():
    other = RepetitionConfig(
        name="repetition", min_chars=0, max_ngram_share=0.1, max_compression=2, max_repeated_lines=0.1, max_run=9
    )
    assert REPETITION.measured_by(other) == REPETITION.measured_by(DEFAULT)
    assert REPETITION.measured_by(EITHER) != REPETITION.measured_by(DEFAULT)


def test_share_of_ngrams_is_of_the_words_that_are_covered():
    # "to be or" comes twice among eleven words, "1 2 3" thrice.
    assert measure_one("to be or not - to be or 1 2 3 1 2 3 1 2 3")["ngram_share"] == pytest.approx(6 / 16)
    assert measure_one("a b a b a b a b")["ngram_share"] == 1.0
    assert measure_one("one two three")["ngram_share"] == 0.0


def test_repeated_lines_count_by_their_characters():
    assert measure_one("abcd\nxy\n  abcd \n\n\nz")["repeated_lines"] == pytest.approx(4 / 11)


@pytest.mark.parametrize(
    ("text", "run"), [("abbbbc", 0), ("bbbbb", 5), ("a哈哈哈哈哈哈", 6), ("x" * 7 + "y" * 9 + "z", 9), ("     ", 5)]
)
def test_run_is_the_longest_of_one_character(text, run):
    assert measure_one(text)["run"] == run


def test_run_does_not_go_on_in_the_next_text():
    facts = facts_of(pairs("aaaa", "aaaa", "", "aaaaaa"))
    assert facts["chosen_run"].tolist() == [0, 0, 0, 6]


def test_no_pairs_give_no_facts():
    assert len(REPETITION.measure(pairs(), EITHER)) == 0


def test_one_text_of_5_mb_is_measured():
    facts = facts_of(pairs(PROSE * 12_000, "w" * 5_000_000))
    assert facts["chosen_compression"].min() > 50
    assert facts["chosen_run"].tolist() == [0, 5_000_000]


@pytest.mark.parametrize(
    "fields", [{"max_ngram_share": 1.1}, {"max_compression": 1}, {"max_run": 4}, {"sides": "both"}]
)
def test_limits_out_of_range_are_refused(fields):
    with pytest.raises(ValidationError, match=next(iter(fields))):
        RepetitionConfig.model_validate({"name": "repetition", **fields})


def count_plainly(text):
    """Measure one text with nothing but loops."""
    words = [word for word in text.split() if any(char.isalnum() for char in word)]
    ngrams = [tuple(words[start : start + 3]) for start in range(len(words) - 2)]
    top = max(Counter(one for one in ngrams if any(map(str.isalpha, "".join(one)))).values(), default=0)
    lines = [line.strip() for line in text.split("\n")]
    again = sum(len(line) for row, line in enumerate(lines) if line in lines[:row])
    run = best = 0
    for row, char in enumerate(text):
        run = run + 1 if row and char == text[row - 1] else 1
        best = max(best, run)
    content = " ".join(text.split()).encode()
    return {
        "chars": len(text),
        "ngram_share": min(1.0, 3 * top / len(words)) if top > 1 else 0.0,
        "compression": len(content) / len(zlib.compress(content, 1)),
        "repeated_lines": again / max(sum(map(len, lines)), 1),
        "run": best if best >= 5 else 0,
    }


TEXTS = st.lists(st.sampled_from(["a", "b", "ab", "é", "哈", "1", "|", " ", "  ", "\n", "\0", "aaaaa"]), max_size=40)


@settings(deadline=None)
@given(st.lists(TEXTS.map("".join), max_size=8))
def test_each_text_has_the_facts_of_a_plain_count_whatever_stands_beside_it(texts):
    facts = facts_of(pairs(*texts))
    for row, text in enumerate(texts):
        found = {name: facts[f"chosen_{name}"][row] for name in count_plainly(text)}
        assert found == pytest.approx(count_plainly(text), rel=1e-6)


def test_facts_do_not_hang_on_how_texts_are_divided():
    texts = [f"{PROSE[: row % 300]} no way out" + " no way out" * (row % 7) for row in range(2500)]
    whole = REPETITION.measure(pairs(*texts), DEFAULT)
    table = pa.concat_tables([pairs(*texts[:700]), pairs(*texts[700:])])
    assert REPETITION.measure(table, DEFAULT).equals(whole)
    parts = [REPETITION.measure(pairs(*texts[start : start + 999]), DEFAULT) for start in range(0, 2500, 999)]
    assert pa.concat_tables(parts).combine_chunks().equals(whole.combine_chunks())

import csv
import io
import json
import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from filtering.filtering import filter_pairs
from filtering.filters.contamination import CONTAMINATION, ContaminationConfig, measure
from judging.schema import PAIRS

WORDS = [
    "a",
    "farmer",
    "sells",
    "forty",
    "eggs",
    "on",
    "monday",
    "and",
    "twice",
    "as",
    "many",
    "on",
    "tuesday",
    "then",
    "gives",
    "nine",
    "to",
    "her",
    "neighbour",
    "who",
    "bakes",
    "three",
    "cakes",
    "with",
    "two",
    "eggs",
    "each",
    "how",
    "many",
    "eggs",
    "does",
    "she",
    "still",
    "have",
    "when",
    "every",
    "basket",
    "holds",
    "exactly",
    "five",
    "of",
    "them",
    "at",
    "noon",
]
QUESTION = " ".join(WORDS).capitalize() + "?"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "prefloop" / "contamination"


@pytest.fixture
def evals(tmp_path):
    """Write eval texts, and give a config that names them."""

    def write(*texts, name="evals.jsonl", **fields):
        path = tmp_path / name
        path.write_text("".join(json.dumps({"question": text}) + "\n" for text in texts))
        return ContaminationConfig(name="contamination", eval_sets=[path], **fields)

    return write


def pair(pair_id, prompt="Say something.", chosen="Something.", rejected="Nothing."):
    messages = [{"role": "user", "content": one} for one in ([prompt] if isinstance(prompt, str) else prompt)]
    return {"pair_id": pair_id, "prompt_id": "p", "messages": messages, "chosen": chosen, "rejected": rejected}


def pairs(*records):
    return pa.Table.from_pylist(list(records), schema=PAIRS)


def dropped(config, *records):
    rows = filter_pairs(pairs(*records), [config]).drops.to_pylist()
    return {row["id"]: (row["reason"], row["value"]) for row in rows}


def shares(config, *records):
    table = measure(pairs(*records), config)
    return {name: table[name].to_pylist() for name in table.column_names}


def change_every(words, step):
    return [f"other{i}" if i % step == step - 1 else word for i, word in enumerate(words)]


def test_eval_prompt_pasted_into_a_prompt_is_found_by_both_n(evals):
    inside = f"Please help me with my homework. {QUESTION} Think step by step."
    for n in (13, 8):
        assert dropped(evals(QUESTION, n=[n]), pair("a", inside), pair("b")) == {"a": (f"prompt_{n}gram_overlap", 1.0)}


def test_eval_prompt_with_every_twelfth_word_changed_is_found_by_8_grams_only(evals):
    changed = pair("a", " ".join(change_every(WORDS, 12)))
    assert dropped(evals(QUESTION, n=[13]), changed) == {}
    # Of 44 words 3 are changed; the others stand in three runs of 11 words and one of 8.
    assert dropped(evals(QUESTION, n=[8]), changed) == {"a": ("prompt_8gram_overlap", 41 / 44)}


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(36, 200), st.integers(0, 2**32))
def test_twelfth_words_changed_in_any_text_hide_it_from_13_grams_alone(evals, n_words, seed):
    draw = random.Random(seed)
    words = [f"w{draw.randrange(1000)}x{i}" for i in range(n_words)]
    config = evals(" ".join(words), name=f"evals{n_words}-{seed}.jsonl")
    found = shares(config, pair("a", " ".join(words)), pair("b", " ".join(change_every(words, 12))))
    assert found["prompt_13"] == [1.0, 0.0]
    assert found["prompt_8"][0] == 1.0
    assert found["prompt_8"][1] > 0.5


def test_chosen_answer_is_looked_at_and_the_rejected_one_is_not(evals):
    found = dropped(evals(QUESTION), pair("a", chosen=QUESTION), pair("b", rejected=QUESTION))
    assert found == {"a": ("chosen_13gram_overlap", 1.0)}


def test_ledger_quotes_the_side_that_holds_the_eval_text(evals):
    tables = filter_pairs(pairs(pair("a", QUESTION), pair("b", chosen=QUESTION)), [evals(QUESTION)])
    assert tables.drops["context"].to_pylist() == [QUESTION[:200], QUESTION[:200]]
    assert tables.drops["reason"].to_pylist() == ["prompt_13gram_overlap", "chosen_13gram_overlap"]


def test_text_spread_over_messages_is_found(evals):
    config = evals(QUESTION, n=[13])
    assert dropped(config, pair("a", [" ".join(WORDS[:20]), " ".join(WORDS[20:])])) == {
        "a": ("prompt_13gram_overlap", 1.0)
    }


def test_run_does_not_go_on_from_one_pair_to_the_next(evals):
    first, second = " ".join(WORDS[:7]), " ".join(WORDS[7:14])
    assert dropped(evals(" ".join(WORDS[:14])), pair("a", first), pair("b", second)) == {}


def test_form_of_letters_and_punctuation_changes_nothing(evals):
    other = "  ".join(WORDS).upper().replace("EGGS", "ＥＧＧＳ,") + " …"
    assert dropped(evals(QUESTION, n=[13]), pair("a", other)) == {"a": ("prompt_13gram_overlap", 1.0)}


def test_phrase_that_everybody_uses_is_no_contamination(evals):
    question = "What is the difference between the two main kinds of " + " ".join(WORDS[:12])
    prompt = "What is the difference between the two main parties of Canada, and why do they disagree?"
    config = evals(question, n=[8])
    assert dropped(config, pair("a", prompt)) == {}
    assert shares(config, pair("a", prompt))["prompt_8"] == [8 / 22]


def test_template_of_many_eval_texts_does_not_count(evals):
    template = "Answer the following question with the letter of the right choice and nothing else at all please: "
    questions = [template + " ".join(f"t{i}w{j}" for j in range(15)) for i in range(11)]
    prompts = [pair("other", template + "which of these cities lies north of the river Elbe and has a harbour")]
    assert dropped(evals(*questions), *prompts, pair("same", questions[3])) == {"same": ("prompt_13gram_overlap", 1.0)}
    few = evals(*questions[:10], name="few.jsonl")
    assert set(dropped(few, *prompts)) == {"other"}


@pytest.mark.parametrize("short", ["Name three primes.", "What is 2+2?", "名前は?"])
def test_eval_text_shorter_than_a_run_is_found_as_a_whole_only(evals, short):
    config = evals(short, QUESTION)
    found = dropped(
        config,
        pair("same", short.upper() + "!"),
        pair("message", ["Hello there.", short]),
        pair("inside", f"{short} And then something else."),
        pair("answer", chosen=short),
    )
    assert found == {
        "same": ("prompt_13gram_overlap", 1.0),
        "message": ("prompt_13gram_overlap", 1.0),
        "answer": ("chosen_13gram_overlap", 1.0),
    }


def test_signs_of_scripts_without_spaces_are_words(evals):
    question = "三个人在两天里能做六张桌子那么九个人在四天里能做多少张桌子"
    config = evals(question)
    assert set(dropped(config, pair("a", "请回答：" + question + "？"), pair("b", "今天的天气怎么样"))) == {"a"}


def test_best_covered_eval_text_counts(evals):
    half = WORDS[:20] + [f"other{i}" for i in range(20)]
    config = evals(" ".join(half), " ".join(WORDS[:25]), n=[8])
    assert shares(config, pair("a", " ".join(WORDS[:20])))["prompt_8"] == [20 / 25]


def test_limits_may_change_without_measuring_again(evals):
    strict, lax = evals(QUESTION, max_share_8=0.1), evals(QUESTION, max_share_8=0.95)
    assert CONTAMINATION.measured_by(strict) == CONTAMINATION.measured_by(lax)
    changed = pair("a", " ".join(change_every(WORDS, 12)))
    assert (set(dropped(strict, changed)), set(dropped(lax, changed))) == ({"a"}, set())


def test_facts_hang_on_what_the_files_hold(evals, tmp_path):
    config = evals(QUESTION)
    before = CONTAMINATION.measured_by(config)
    (tmp_path / "copy.jsonl").write_bytes((tmp_path / "evals.jsonl").read_bytes())
    copy = ContaminationConfig(name="contamination", eval_sets=[tmp_path / "copy.jsonl"])
    assert CONTAMINATION.measured_by(copy) == before
    evals(QUESTION, "Another question.")
    assert CONTAMINATION.measured_by(config) != before


def test_changed_eval_set_is_read_again(evals):
    config = evals("What is the name of the longest river?")
    assert dropped(config, pair("a", QUESTION)) == {}
    evals(QUESTION)
    assert set(dropped(config, pair("a", QUESTION))) == {"a"}


def as_jsonl(path, column, values):
    path.write_text("\n".join(json.dumps({"id": 1, column: value}) for value in values) + "\n\n")


def as_csv(path, column, values):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["id", column], *([1, value] for value in values)])


def as_parquet(path, column, values):
    pq.write_table(pa.table({"id": [1] * len(values), column: values}), path)


def as_txt(path, _, values):
    path.write_text("\n".join(values))


@pytest.mark.parametrize(
    ("write", "suffix", "column"),
    [
        (as_jsonl, "jsonl", "prompt"),
        (as_csv, "csv", "problem"),
        (as_parquet, "parquet", "text"),
        (as_txt, "txt", "text"),
        (as_csv, "csv", "odd"),
    ],
)
def test_eval_sets_are_read_from_files_of_each_kind(tmp_path, write, suffix, column):
    path = tmp_path / f"evals.{suffix}"
    write(path, column, ["First of all.", QUESTION])
    named = {"path": path, "column": "odd"} if column == "odd" else path
    config = ContaminationConfig(name="contamination", eval_sets=[named])
    assert set(dropped(config, pair("a", QUESTION), pair("b", "first of all"), pair("c"))) == {"a", "b"}


def test_conversations_count_without_the_answer_at_their_end(tmp_path):
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": "word " * 200},
    ]
    as_jsonl(tmp_path / "evals.jsonl", "messages", [messages])
    config = ContaminationConfig(name="contamination", eval_sets=[tmp_path / "evals.jsonl"], n=[8])
    assert dropped(config, pair("a", QUESTION)) == {"a": ("prompt_8gram_overlap", 44 / 46)}


def test_turns_are_joined(tmp_path):
    as_jsonl(tmp_path / "evals.jsonl", "turns", [[" ".join(WORDS[:20]), " ".join(WORDS[20:])]])
    config = ContaminationConfig(name="contamination", eval_sets=[tmp_path / "evals.jsonl"], n=[13])
    assert set(dropped(config, pair("a", QUESTION))) == {"a"}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", "", r"a\.jsonl holds no rows"),
        ("a.csv", "question\n", r"a\.csv holds no rows"),
        ("a.jsonl", '{"q": "x"}', r"a\.jsonl has no column messages, prompt, .*; it has q: name one of them"),
        ("a.jsonl", '{"text": "x"}\n{"text', r"a\.jsonl, line 2 is no JSON"),
        ("a.jsonl", '["x"]', r"a\.jsonl, line 1 is no JSON object, but list"),
        ("a.jsonl", '{"text": "x"}\n{"text": null}', r"a\.jsonl, row 2, text: NoneType in place of a text"),
        ("a.jsonl", '{"text": "x"}\n{"text": " "}', r"a\.jsonl, row 2, text is empty: remove the row"),
        ("a.jsonl", '{"messages": [3]}', r"row 1, messages: a list of something else"),
        ("a.parquet", "PAR1", r"a\.parquet can't be read .*: give it as UTF-8, whole"),
        ("a.txt", b"caf\xe9", r"a\.txt can't be read .*: give it as UTF-8, whole"),
        ("a.jsonl", '{"text": ' + "1" * 5000 + "}", r"a\.jsonl, line 1 is no JSON"),
        ("a.jsonl", "[" * 100_000, r"a\.jsonl, line 1 is no JSON"),
        ("a.csv", "question\nyes\nwell, no\n", r"a\.csv, row 2 has more cells than the header"),
    ],
)
def test_eval_set_that_is_none_names_file_row_and_column(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    config = ContaminationConfig(name="contamination", eval_sets=[tmp_path / name])
    with pytest.raises(ValueError, match=message):
        measure(pairs(pair("a")), config)


def test_eval_set_damaged_inside_is_named(tmp_path):
    path = tmp_path / "a.parquet"
    as_parquet(path, "text", [f"text {row}" for row in range(5000)])
    content = bytearray(path.read_bytes())
    content[100:4000] = b"\xff" * 3900
    path.write_bytes(content)
    config = ContaminationConfig(name="contamination", eval_sets=[path])
    with pytest.raises(ValueError, match=r"a\.parquet can't be read"):
        measure(pairs(pair("a")), config)


def test_column_that_is_not_there_names_those_that_are(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "x", "id": 3}')
    sets = [{"path": tmp_path / "a.jsonl", "column": "query"}]
    with pytest.raises(ValueError, match=r"has no column 'query'; it has text, id: name one of them as `column`"):
        measure(pairs(pair("a")), ContaminationConfig(name="contamination", eval_sets=sets))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"eval_sets": ["nowhere.jsonl"]}, r"nowhere\.jsonl is not a file: give the path of an eval set"),
        ({"eval_sets": [__file__]}, r"ends in '\.py': give one of \.jsonl, \.csv, \.parquet, \.txt"),
        ({"eval_sets": []}, "eval_sets\n.*at least 1 item"),
        ({}, "eval_sets\n.*required"),
        ({"n": [5]}, r"n\.0\n.*8 or 13"),
        ({"max_share_8": 1.0}, "max_share_8\n.*less than 1"),
        ({"max_share_13": -0.1}, "max_share_13\n.*greater than or equal to 0"),
    ],
)
def test_wrong_config_names_the_field(fields, message):
    with pytest.raises(ValidationError, match=message):
        ContaminationConfig(name="contamination", **fields)


def test_index_is_built_once_and_then_mapped(evals, cache, monkeypatch):
    config = evals(QUESTION)
    assert set(dropped(config, pair("a", QUESTION))) == {"a"}
    assert len(list(cache.iterdir())) == 2
    from filtering.overlap import index_cache

    index_cache._load.cache_clear()
    monkeypatch.setattr(index_cache, "read_texts", lambda source: pytest.fail("the eval set was read again"))
    assert set(dropped(config, pair("a", QUESTION))) == {"a"}
    assert isinstance(index_cache.load_index(config.eval_sets, 8).keys.base, np.memmap)


def array_file(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:100],
        lambda content: content[:-8],
        lambda _: b"",
        lambda _: array_file(np.arange(3, dtype=np.uint64)),
        lambda _: array_file(np.zeros((9, 9), np.uint64)),
    ],
)
def test_damaged_index_is_built_anew(evals, cache, damage):
    from filtering.overlap import index_cache

    config = evals(QUESTION)
    assert set(dropped(config, pair("a", QUESTION))) == {"a"}
    files = sorted(cache.iterdir())
    good = [file.read_bytes() for file in files]
    for file, content in zip(files, good, strict=True):
        file.unlink()  # a new file: the old one is still mapped
        file.write_bytes(damage(content))
    index_cache._load.cache_clear()
    assert set(dropped(config, pair("a", QUESTION))) == {"a"}
    assert [file.read_bytes() for file in files] == good


def test_folder_that_cannot_be_written_costs_the_cache_only(evals, tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert set(dropped(evals(QUESTION), pair("a", QUESTION))) == {"a"}
    assert "can't be stored" in caplog.text


@st.composite
def drawn_pairs(draw):
    text = st.lists(st.sampled_from(["one", "two", "three"]), max_size=12).map(" ".join)
    records = draw(st.lists(st.tuples(text, text), max_size=8))
    return [pair(f"id{row}", prompt, chosen) for row, (prompt, chosen) in enumerate(records)]


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn_pairs(), st.randoms(use_true_random=False))
def test_verdict_hangs_on_the_pair_alone_and_twice_changes_nothing(evals, records, random):
    config = evals("one two three one two three one two", "two", "one one one one one one one one two two")
    straight = filter_pairs(pairs(*records), [config])
    turned = filter_pairs(pairs(*random.sample(records, len(records))), [config])
    assert sorted(straight.kept["pair_id"].to_pylist()) == sorted(turned.kept["pair_id"].to_pylist())
    assert len(straight.kept) + len(straight.drops) == len(records)
    assert filter_pairs(straight.kept, [config]).kept.equals(straight.kept)


def test_no_pairs_are_measured_too(evals):
    assert dropped(evals(QUESTION)) == {}

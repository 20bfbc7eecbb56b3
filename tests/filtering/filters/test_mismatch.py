import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filtering.encoding import count_traces
from filtering.filter import Facts
from filtering.filters.mismatch import MismatchConfig, decide, measure
from filtering.language import SCRIPTS, count_scripts, has_other_scripts
from judging.schema import PAIRS

ENGLISH = "Here is a long answer in plain words, about nothing in particular but long enough to count."
RUSSIAN = "Вот длинный ответ самыми обычными словами ни о чём особенном, но достаточно длинный для счёта."
CHINESE = "这是一个用简单的话写成的很长的回答" * 4
HEBREW = "זו תשובה ארוכה במילים פשוטות שאין בה שום דבר מיוחד אבל היא מספיק ארוכה כדי להיחשב כאן"
FRENCH = "Voici une réponse assez longue en français, qui ne dit rien de particulier mais qui compte tout de même."


def table(*texts):
    records = [
        {"pair_id": str(row), "messages": [{"role": "user", "content": prompt}], "chosen": chosen, "rejected": "no"}
        for row, (prompt, chosen) in enumerate(texts)
    ]
    return pa.Table.from_pylist(records, schema=PAIRS)


def reasons(*texts, **fields):
    config = MismatchConfig(name="mismatch", **fields)
    measured = measure(table(*texts), config)
    rows = np.arange(len(texts))
    facts = Facts({name: measured[name].to_numpy() for name in measured.column_names}, rows, rows)
    found = decide(facts, config)
    return [next((one.reason for one in found if not one.keep[row]), None) for row in rows]


@pytest.mark.parametrize(
    "broken",
    ["cut \ufffd", "a\0b", "\x1b[0m", "cafÃ©", "20Â°", "Itâ€™s", "ðŸ˜€", "ï»¿Hi", "\u0092s", "ÐŸÑ€Ð¸Ð²ÐµÑ‚"],
)
def test_broken_characters_are_found_on_both_sides(broken):
    assert reasons(("Say it", broken), (broken, "It is said")) == ["encoding", "prompt_encoding"]


@pytest.mark.parametrize(
    "sound",
    [
        "",
        " \t\r\n\f",
        "café, naïve, São Paulo, NÃO, MAÇÃ”, Âge",
        "« à l’heure » — 20 °C",
        "👩\u200d👩\u200d👧 ❤\ufe0f",
        HEBREW,
        CHINESE,
    ],
)
def test_sound_texts_have_no_traces(sound):
    assert count_traces(pa.chunked_array([[sound]])).tolist() == [0]


def test_answer_in_another_script_is_dropped_unless_the_prompt_allows_it():
    assert reasons((CHINESE, ENGLISH), (ENGLISH, RUSSIAN), (RUSSIAN, HEBREW), (HEBREW, HEBREW)) == [
        "script", "script", "script", None,
    ]  # fmt: skip
    allowed = [
        ("Translate it: " + ENGLISH, RUSSIAN),
        ("Please answer in Russian. " + ENGLISH, RUSSIAN),
        ("翻译：" + CHINESE, ENGLISH),
        (CHINESE + " Python", ENGLISH),
        (CHINESE, "```\nprint(1)\n```\n" + ENGLISH),
        ("What is it?", RUSSIAN),
        (CHINESE, "No."),
    ]
    assert reasons(*allowed) == [None] * len(allowed)


def test_thresholds_decide_without_measuring_again():
    assert reasons((ENGLISH, RUSSIAN), min_letters=1000) == [None]
    assert reasons((ENGLISH, RUSSIAN), min_shared_script=None) == [None]
    assert (
        reasons(("Say it", "\ufffd"), max_encoding_errors=1) == reasons(("a", "\0"), max_encoding_errors=None) == [None]
    )
    mostly_russian = (ENGLISH, RUSSIAN + " " + RUSSIAN + " Here it is")
    assert reasons(mostly_russian) == ["script"]
    assert reasons(mostly_russian, min_shared_script=0.01) == [None]


def test_languages_of_one_script_are_told_apart_on_request():
    pytest.importorskip("py3langid")
    assert reasons((ENGLISH, FRENCH), (FRENCH, FRENCH)) == [None, None]
    texts = [(ENGLISH, FRENCH), (FRENCH, FRENCH), ("Say it in French: " + ENGLISH, FRENCH), (ENGLISH, ENGLISH)]
    assert reasons(*texts, language="py3langid") == ["language", None, None, None]


def test_missing_language_library_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "py3langid.langid", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "prefloop\[language\]"'):
        reasons((ENGLISH, FRENCH), language="py3langid")


def test_letters_are_counted_by_script():
    counts = dict(zip(SCRIPTS, count_scripts("abc é 1_2 мир 你好カナ 한글 שלום 😀 𝐀"), strict=True))
    found = {script: n for script, n in counts.items() if n}
    assert found == {"latin": 4, "cyrillic": 3, "han": 4, "hangul": 2, "hebrew": 4}


@given(st.text(max_size=20))
def test_texts_without_other_scripts_have_latin_letters_only(text):
    others = int(count_scripts(text).sum()) - int(count_scripts(text)[SCRIPTS.index("latin")])
    assert has_other_scripts(pa.chunked_array([[text]]))[0] or others == 0


def test_no_pairs_give_no_facts():
    assert measure(table(), MismatchConfig(name="mismatch")).num_rows == 0


def test_five_million_characters_pass():
    assert reasons(("Say it", "слово " * 830_000)) == [None]


TEXT = st.text(alphabet="ab Ã©\ufffd\0мир你", max_size=8)


@settings(deadline=None)
@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=6))
def test_verdicts_hang_on_the_pair_alone(texts):
    assert reasons(*texts, min_letters=1) == [reasons(one, min_letters=1)[0] for one in texts]

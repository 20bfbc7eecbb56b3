import json
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from filtering.formats.catalogue import FORMATS
from flows.export_commands import ExportForm
from judging.pairing.exports import export_pairs
from judging.schema import PAIRS

N = 40


@pytest.fixture
def pairs(tmp_path):
    """Pairs of our own, two a prompt, the last one of several turns."""
    rows = []
    for at in range(N):
        messages = [{"role": "user", "content": f"Question {at // 2}"}]
        if at == N - 1:
            messages = [*messages, {"role": "assistant", "content": "Which?"}, {"role": "user", "content": "That"}]
        sides = {"chosen": f"Good {at}", "rejected": f"Bad {at}", "chosen_id": f"c{at}", "rejected_id": f"r{at}"}
        ids = {"pair_id": f"p{at}", "prompt_id": f"q{at // 2}", "messages": messages, "source": "made"}
        scores = {"chosen_score": 2.0, "rejected_score": 1.0, "margin": 1.0, "split": "train"}
        rows.append(dict.fromkeys(PAIRS.names) | ids | sides | scores)
    path = tmp_path / "in" / "pairs.parquet"
    path.parent.mkdir()
    pq.write_table(pa.Table.from_pylist(rows, schema=PAIRS), path)
    return path


def test_the_forms_are_the_formats_and_those_of_trainers():
    assert [form.value for form in ExportForm] == [*FORMATS, "kto", "sft", "reward_model", "dataset"]


@pytest.mark.slow
@pytest.mark.parametrize("form", list(FORMATS))
def test_each_format_is_written_and_read_again(prefloop, pairs, tmp_path, form):
    done = prefloop("export", "--input", pairs, "--as", form, "--output", tmp_path / "out", "--json").json
    path = tmp_path / f"out{FORMATS[form].suffix}"
    n_dropped = 1 if form in ("trl", "trl_implicit") else 0
    assert done["rows"].pop(str(path)) == N - n_dropped
    assert done["input"] == f"{N} rows, read as prefloop"
    assert done["drops"] == ({"more_than_a_question": 1} if n_dropped else {})
    assert list(done["rows"].values()) == [1] * n_dropped
    back = prefloop("export", "--input", path, "--as", "prefloop", "--output", tmp_path / "back.parquet", "--json").json
    assert back["input"] == f"{N - n_dropped} rows, read as {form}"
    found = pq.read_table(tmp_path / "back.parquet")
    assert found["chosen"].to_pylist() == [f"Good {at}" for at in range(N - n_dropped)]
    assert found["messages"].to_pylist()[-1][-1]["content"] == (f"Question {(N - 2) // 2}" if n_dropped else "That")


@pytest.mark.slow
@pytest.mark.parametrize("form", ["kto", "sft", "reward_model"])
def test_forms_of_trainers_are_those_that_pairing_writes(prefloop, pairs, tmp_path, form):
    expected = export_pairs(pq.read_table(pairs), form)
    done = prefloop("export", "--input", pairs, "--as", form, "--output", tmp_path / "out.jsonl", "--json").json
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert rows == expected.rows.to_pylist()
    assert sum(done["drops"].values()) == expected.drops.num_rows


@pytest.mark.slow
def test_a_dataset_is_loaded_as_its_card_says(prefloop, pairs, tmp_path, monkeypatch):
    from datasets import DatasetDict, config, disable_progress_bars

    disable_progress_bars()
    monkeypatch.setattr(config, "HF_DATASETS_CACHE", tmp_path / "cache")
    funnel = {"in": 100, "kept": N, "dropped": {"identical": 100 - N}}
    (pairs.parent / "funnel.json").write_text(json.dumps(funnel))
    folder = tmp_path / "mine"
    for _ in range(2):  # an earlier export is replaced
        prefloop("export", "--input", pairs, "--as", "dataset", "--output", folder, "--eval-share", 0.3)
    card = (folder / "README.md").read_text()
    assert f"100 pairs were filtered with prefloop, {N} were kept." in card
    names: dict = {}
    monkeypatch.chdir(tmp_path)
    exec(re.search(r"```python\n(.*?)```", card, re.DOTALL).group(1), names)
    loaded = names["pairs"]
    assert isinstance(loaded, DatasetDict)
    assert sum(split.num_rows for split in loaded.values()) == N
    first, second = ({str(prompt) for prompt in loaded[split]["prompt"]} for split in ("train", "test"))
    assert first
    assert second
    assert not first & second
    assert loaded["train"][0]["chosen"] == [{"role": "assistant", "content": "Good 0"}]


@pytest.mark.slow
def test_wrong_use_is_explained(prefloop, pairs, tmp_path):
    def error(*arguments, code):
        return prefloop("export", "--input", pairs, *arguments, code=code).stderr

    assert "is the input itself" in error("--as", "prefloop", "--output", pairs, code=2)
    assert "--eval-share is for --as dataset" in error(
        "--as", "trl", "--output", tmp_path / "a.json", "--eval-share", 0.1, code=2
    )
    assert "holds something that is no result of this command" in error(
        "--as", "dataset", "--output", pairs.parent, code=2
    )
    assert "give a file that ends in .parquet" in error("--as", "trl", "--output", tmp_path / "a.csv", code=1)
    assert "format 'parquet' is not known" in error(
        "--as", "trl", "--output", tmp_path / "a.json", "--format", "parquet", code=1
    )
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "README.md").write_text("# My own")
    assert "is no card of ours" in error("--as", "dataset", "--output", tmp_path / "own", code=2)
    source = pairs.parent  # a folder: none of its files may be written
    done = prefloop("export", "--input", source, "--as", "trl", "--output", pairs, code=2)
    assert "is the input itself" in done.stderr
    assert pq.read_table(pairs).num_rows == N


@pytest.mark.slow
def test_no_file_is_left_where_no_pair_can_be_carried(prefloop, tmp_path):
    file, out = tmp_path / "a.jsonl", tmp_path / "out.json"
    file.write_text(json.dumps({"instruction": "a", "system": "Be brief.", "chosen": "b", "rejected": "c"}))
    done = prefloop("export", "--input", file, "--as", "hh", "--output", out, code=1)
    assert "no pair is left to write; dropped: {'role_not_carried': 1}" in done.stderr
    assert list(tmp_path.iterdir()) == [file]

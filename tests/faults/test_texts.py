"""Prompts and answers made to do harm. A test's first line is the fault's name in docs/faults.md."""

import json
import os
import random
import string
from pathlib import Path

import pyarrow as pa
import pytest

from evaluation.report import render_report
from evaluation.run_report import AnswerSample
from filtering.config import FilteringConfig
from filtering.filtering import filter_pairs
from flows.child import StageError
from flows.identities import source_identity
from flows.mapping import Shard, map_shards
from flows.planned_prompts import read_planned_prompts
from flows.store import Store
from generation.config import PromptsConfig, SamplingConfig
from generation.engine import Answer, Completion, PolicyFiles, Request
from generation.prompts import read_prompts
from generation.sampling import Sampling
from generation.scripted_engine import ScriptedEngine
from generation.sources import source_files
from judging.asking.quoting import quote_verdicts
from judging.config import PairingConfig
from judging.judge import Verdict
from judging.pairing.pairing import pair_candidates
from judging.reading.written_verdict import parse_verdict
from judging.scoring import Scoring, scores_table
from tests.evaluation.conftest import run_report

__all__ = ["run_report"]  # a fixture

SCRIPT = "</pre><script>alert(1)</script><img src=x onerror=alert(1)>"


def write_prompts(folder: Path, *prompts: str) -> PromptsConfig:
    folder.mkdir(exist_ok=True)
    rows = [{"prompt": prompt, "split": "train"} for prompt in prompts]
    (folder / "prompts.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return PromptsConfig(path=folder)


def answer_all(workspace: Path, prompts: pa.Table, *texts: str) -> pa.Table:
    """Give each prompt the same answers and store them as candidates."""
    out = Store(workspace).dataset("generation", "abc")

    def script(request: Request) -> Answer:
        return Answer([Completion(text, None, None, "stop", None) for text in texts])

    stage = Sampling(ScriptedEngine(script), None, PolicyFiles("m", "m"), len(texts), SamplingConfig(), 0, 1)
    map_shards([Shard(0, prompts)], stage, out.write_shard, lambda rows: None)
    out.commit(1, {}, {})
    return out.read()


class ByLength:
    """A judge that likes long answers."""

    def score(self, tagged):
        for tag, item in tagged:
            yield tag, Verdict(float(len(item.text)))


def pair_all(prompts: pa.Table, candidates: pa.Table) -> pa.Table:
    stage = Scoring(ByLength(), "length", prompts)
    items = stage.items(candidates)
    scores = scores_table("length", items, [Verdict(float(len(item.text))) for item in items])
    return pair_candidates(prompts, candidates, scores, PairingConfig()).pairs


def test_answer_with_markup(run_report):
    """Answer with <script> in it"""
    first, second = run_report.rounds
    sample = AnswerSample(SCRIPT, SCRIPT, SCRIPT, 0.1, 0.2)
    attacked = first.__class__(**(vars(first) | {"answers": [sample]}))
    page = render_report(run_report.__class__(**(vars(run_report) | {"rounds": [attacked, second]})))
    assert "&lt;script&gt;alert(1)" in page
    assert "<script" not in page
    assert "<img src=x" not in page


def test_prompt_with_nul_bytes(tmp_path: Path):
    """Prompt and answer with NUL bytes"""
    prompts = read_prompts(write_prompts(tmp_path / "in", "What\0is this?"), 0).prompts
    candidates = answer_all(tmp_path, prompts, "It\0is", "It is\0\0 that")
    pairs = pair_all(prompts, candidates)
    [row] = pairs.to_pylist()
    assert row["messages"] == [{"role": "user", "content": "What\0is this?"}]
    assert (row["chosen"], row["rejected"]) == ("It is\0\0 that", "It\0is")


def test_prompt_with_half_a_character(tmp_path: Path):
    """Lone surrogate in a prompts file"""
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "fine"}\n{"prompt": "half \\ud83d"}\n')
    with pytest.raises(ValueError, match=r"prompts.jsonl, line 2: .*surrogates not allowed"):
        read_prompts(PromptsConfig(path=tmp_path), 0)


def test_parquet_with_broken_text(tmp_path: Path):
    """Text that is not UTF-8 in a Parquet file"""
    import pyarrow.parquet as pq

    broken = pa.array([b"half \xed\xa0\xbd"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"prompt": broken}), tmp_path / "prompts.parquet")
    with pytest.raises(ValueError, match=r"prompts.parquet is damaged, or holds text that is not UTF-8"):
        read_prompts(PromptsConfig(path=tmp_path), 0)


def test_answer_of_a_megabyte(tmp_path: Path):
    """Answer of a megabyte"""
    letters = random.Random(0).choices(string.ascii_letters + " .\n-*:", k=1_000_000)
    large = "".join(letters) + "\nScore: 5"
    prompts = read_prompts(write_prompts(tmp_path / "in", "Say much"), 0).prompts
    pairs = pair_all(prompts, answer_all(tmp_path, prompts, large, "Little."))
    assert filter_pairs(pairs, FilteringConfig().chosen()).kept.num_rows == 1
    assert "\n> Score: 5" in quote_verdicts(large)
    for hostile in ("*" * 1_000_000, "a-" * 500_000, " score " * 150_000, "Score:" * 170_000):
        assert parse_verdict(quote_verdicts(hostile), 1, 5).score is None


def test_prompts_vanish_after_planning(tmp_path: Path):
    """Prompts file gone after planning"""
    config = write_prompts(tmp_path / "in", "One", "Two")
    planned = source_identity(config)
    (tmp_path / "in" / "prompts.jsonl").unlink()
    with pytest.raises((StageError, ValueError), match=r"holds no file|vanished"):
        read_planned_prompts(config, 0, planned)
    (tmp_path / "in").rmdir()
    with pytest.raises(StageError, match=r"prompts.path vanished after the run was planned"):
        read_planned_prompts(config, 0, planned)


def test_prompts_change_after_planning(tmp_path: Path):
    """Prompts file changed after planning"""
    config = write_prompts(tmp_path / "in", "One", "Two")
    planned = source_identity(config)
    assert read_planned_prompts(config, 0, planned).prompts.num_rows == 2
    write_prompts(tmp_path / "in", "One", "Three")
    with pytest.raises(StageError, match="changed after the run was planned: run again"):
        read_planned_prompts(config, 0, planned)


def test_broken_link_among_prompts(tmp_path: Path):
    """Broken link or pipe among the prompts"""
    write_prompts(tmp_path, "One")
    (tmp_path / "good.jsonl").symlink_to(tmp_path / "prompts.jsonl")  # what a link points to is read
    assert [path.name for path in source_files(tmp_path)] == ["good.jsonl", "prompts.jsonl"]
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(ValueError, match=r"pipe.jsonl is a broken link, a pipe or a device"):
        source_files(tmp_path)
    (tmp_path / "pipe.jsonl").unlink()
    (tmp_path / "gone.jsonl").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"gone.jsonl is a broken link"):
        source_files(tmp_path)

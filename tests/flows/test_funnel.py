import pyarrow as pa
import pytest

from filtering.config import FilteringConfig
from filtering.filtering import Split, filter_pairs, filter_parts, split_parts
from filtering.parts import list_parts
from flows.funnel import Spotter
from flows.tables import write_table
from judging.schema import PAIRS

SECRET = "write to maria.lopez@marlow-stone.co.uk or call nobody"


def pairs():
    prompt = [{"role": "user", "content": "How do I reach them?"}]
    answers = {"good": "Look it up in the book.", "mail": SECRET, "same": "Ask again tomorrow, please."}
    rows = [
        {"pair_id": name, "prompt_id": name, "messages": prompt, "chosen": text, "rejected": rejected, "margin": margin}
        for (name, text), rejected, margin in zip(
            answers.items(), ["No.", "No.", "Ask again tomorrow, please!!"], [1.0, None, 2.0], strict=True
        )
    ]
    return pa.Table.from_pylist(rows, schema=PAIRS)


def see(tmp_path, config):
    write_table(tmp_path / "pairs.parquet", pairs())
    parts = list_parts([tmp_path / "pairs.parquet"])
    decision = filter_parts(parts, config.chosen(), tmp_path / "facts")
    spotter = Spotter(decision)
    for split in split_parts(parts, decision):
        assert isinstance(split, Split)
        spotter.see(split)
    return spotter.report("Pairs", "pairs.parquet", "prefloop", config.chosen(), {"null_text": 2})


def test_report_adds_up_from_the_file_to_the_kept_pairs(tmp_path):
    report = see(tmp_path, FilteringConfig(filters=[{"name": "identical"}]))
    assert (report.n_in, report.n_kept, [step.n_dropped for step in report.steps]) == (5, 2, [2, 1])
    (sample,) = report.steps[1].dropped
    assert (sample.pair_id, sample.chosen.text) == ("same", "Ask again tomorrow, please.")
    assert report.margins is not None
    assert report.margins.n_unknown == 1


def test_what_nobody_is_to_read_stands_in_no_sample(tmp_path):
    pytest.importorskip("presidio_analyzer")
    config = FilteringConfig(filters=[{"name": "private"}])
    report = see(tmp_path, config)
    assert [step.n_dropped for step in report.steps] == [2, 1]
    assert "maria" not in repr(report)
    assert filter_pairs(pairs(), config.chosen()).drops["context"].to_pylist() == [""]

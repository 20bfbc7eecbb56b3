import json
from collections import Counter

import pytest
import yaml
from huggingface_hub import DatasetCard

from filtering.formats.card import Funnel, read_funnel, write_card
from filtering.formats.dataset_folder import SplitCounts

TRAIN = SplitCounts(3, {1, 2}, Counter({"a|b\n": 2, None: 1}), 30, 6)
TEST = SplitCounts(1, {3}, Counter({"c": 1}), 5, 5)


def test_the_header_is_what_the_hub_reads():
    card = DatasetCard(write_card('my "pairs": 1', {"train": TRAIN, "test": TEST}, 0.05, None))
    header = yaml.safe_load(str(card.data))
    assert header["pretty_name"] == 'my "pairs": 1'
    assert (header["license"], header["size_categories"]) == ("unknown", ["n<1K"])
    assert header["configs"] == [
        {
            "config_name": "default",
            "data_files": [{"split": "train", "path": "data/train-*"}, {"split": "test", "path": "data/test-*"}],
        }
    ]


def test_the_card_counts_splits_and_sources():
    text = write_card("x", {"train": TRAIN, "test": TEST}, 0.25, None)
    for line in ("| train | 3 | 2 | 10 | 2 |", "| test | 1 | 1 | 5 | 5 |", "| a\\|b | 2 |", "| unknown | 1 |"):
        assert line in text
    assert "25% to `test`" in text
    assert "No record of filtering" in text


def test_one_split_is_not_said_to_be_divided():
    text = write_card("x", {"test": TEST}, 0.99, None)
    assert "All pairs are in `test`." in text
    assert 'pairs["test"][0]' in text


def test_few_sources_are_named_and_the_rest_counted():
    many = SplitCounts(25, {1}, Counter({f"s{at}": 1 for at in range(25)}), 1, 1)
    text = write_card("x", {"train": many}, 0.05, None)
    assert "| 5 others | 5 |" in text


def test_the_funnel_is_shown_and_what_is_missing_of_it():
    text = write_card("x", {"train": TRAIN}, 0.05, Funnel(10, {"identical": 2, "length": 4}))
    assert "10 pairs were filtered with prefloop, 4 were kept. 3 of them are in this export." in text
    assert "| identical | 10 | 2 |\n| length | 8 | 4 |" in text


def test_a_funnel_is_read_or_refused(tmp_path):
    file = tmp_path / "funnel.json"
    assert read_funnel(file) is None
    file.write_text(json.dumps({"in": 5, "kept": 4, "dropped": {"length": 1}}))
    assert read_funnel(file) == Funnel(5, {"length": 1})
    for wrong in ("[]", "{}", "no", '{"in": 1, "dropped": 3}'):
        file.write_text(wrong)
        with pytest.raises(ValueError, match=r"funnel\.json is no funnel"):
            read_funnel(file)

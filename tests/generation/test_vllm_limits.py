"""What both ways of running vLLM are told."""

import json

import pytest

from generation.vllm_limits import reserved_rank


@pytest.mark.parametrize(
    ("config", "rank"),
    [
        ({"r": 1}, 1),
        ({"r": 12}, 16),
        ({"r": 16, "rank_pattern": None}, 16),
        ({"r": 4, "rank_pattern": {"q_proj": 40}}, 64),
        ({"r": 512}, 512),
    ],
)
def test_the_reserved_rank_holds_every_layer(tmp_path, config, rank):
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    assert reserved_rank(tmp_path) == rank


def test_a_rank_above_the_largest_is_refused(tmp_path):
    (tmp_path / "adapter_config.json").write_text('{"r": 8, "rank_pattern": {"q_proj": 513}}')
    with pytest.raises(ValueError, match="rank 513, but vLLM runs adapters up to 512: merge it first"):
        reserved_rank(tmp_path)

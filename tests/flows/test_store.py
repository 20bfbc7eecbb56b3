import json
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.keys import answer_fields, chosen_fields, content_key
from flows.store import Dataset, Store
from flows.tables import write_table
from generation.config import GenerationConfig, TransformersConfig, VllmConfig
from generation.schema import CANDIDATES


def rows(*values: int) -> pa.Table:
    return pa.table({"value": values})


def test_shards_without_manifest_are_not_complete(tmp_path: Path):
    dataset = Store(tmp_path).dataset("pairing", "abc")
    dataset.write_shard(0, {"part": rows(1, 2)})
    assert dataset.manifest() is None
    assert list(dataset.shards()) == [0]


def test_a_committed_dataset_reads_back_in_shard_order(tmp_path: Path):
    dataset = Store(tmp_path).dataset("pairing", "abc")
    dataset.write_shard(1, {"part": rows(3), "drops": rows(9)})
    dataset.write_shard(0, {"part": rows(1, 2)})
    manifest = dataset.commit(1, {"config": {}}, {"seconds": 1.5})
    assert dataset.read().to_pydict() == {"value": [1, 2, 3]}
    assert manifest.rows == {"drops": 1, "part": 3}
    assert dataset.manifest() == manifest


def test_an_empty_side_table_leaves_no_file(tmp_path: Path):
    dataset = Store(tmp_path).dataset("pairing", "abc")
    dataset.write_shard(0, {"part": rows(1), "drops": rows()})
    assert dataset.shards("drops") == {}


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path):
    nothing_writes_this = pa.table({"x": pa.array([(1, 2, 3)], pa.month_day_nano_interval())})
    with pytest.raises(pa.ArrowNotImplementedError):
        write_table(tmp_path / "part-00000.parquet", nothing_writes_this)
    assert list(tmp_path.iterdir()) == []


def test_token_ids_survive_their_encoding(tmp_path: Path):
    columns = {name: [None] for name in CANDIDATES.names} | {"token_ids": [[1, 2, 300_000]]}
    dataset = Store(tmp_path).dataset("generation", "abc")
    dataset.write_shard(0, {"part": pa.table(columns, schema=CANDIDATES)})
    assert dataset.read(columns=["token_ids"]).to_pydict() == {"token_ids": [[1, 2, 300_000]]}


def test_a_shard_that_is_taken_back_is_not_done(tmp_path: Path):
    dataset = Store(tmp_path).dataset("judging", "abc")
    dataset.write_shard(0, {"part": rows(1), "drops": rows(2)})
    dataset.write_shard(1, {"part": rows(3)})
    dataset.remove_shard(0)
    assert list(dataset.shards()) == [1]
    assert dataset.shards("drops") == {}


def test_a_shard_written_again_keeps_no_drops_of_its_first_try(tmp_path: Path):
    dataset = Store(tmp_path).dataset("generation", "abc")
    dataset.write_shard(0, {"part": rows(1), "drops": rows(2)})
    dataset.write_shard(0, {"part": rows(1, 2), "drops": rows()})
    assert dataset.shards("drops") == {}


def test_a_complete_dataset_is_not_cleared(tmp_path: Path):
    dataset = Store(tmp_path).dataset("policies", "abc")
    dataset.write_shard(0, {"part": rows(1)})
    dataset.commit(1, {}, {})
    with pytest.raises(ValueError, match="is complete"):
        dataset.clear()


def complete(folder: Path, stage: str = "judging") -> Dataset:
    dataset = Store(folder).dataset(stage, "abc")
    dataset.write_shard(0, {"part": rows(1), "drops": rows(7)})
    dataset.write_shard(1, {"part": rows(2)})
    dataset.commit(1, {}, {"rows_in": 3})
    return dataset


def test_a_whole_dataset_has_no_damage(tmp_path: Path):
    assert complete(tmp_path).damaged(thorough=False) == []
    assert complete(tmp_path).damaged(thorough=True) == []


def test_only_the_damaged_shard_is_taken_back(tmp_path: Path):
    dataset = complete(tmp_path)
    dataset.take_back(["drops-00000.parquet"])
    assert dataset.manifest() is None
    assert list(dataset.shards()) == [1]
    assert dataset.shards("drops") == {}


def test_damaged_weights_are_taken_back_whole(tmp_path: Path):
    dataset = complete(tmp_path, "policies")
    dataset.take_back(["part-00000.parquet"])
    assert not dataset.folder.exists()


def test_a_note_beside_weights_is_no_damage_but_a_file_that_loaders_read_is(tmp_path: Path):
    dataset = complete(tmp_path, "policies")
    (dataset.folder / "notes.md").write_text("good one")
    assert dataset.damaged(thorough=True) == []
    (dataset.folder / "adapter_config.json").write_text("{}")
    assert dataset.damaged(thorough=False) == ["adapter_config.json"]


def test_a_changed_card_leaves_a_policy_as_it_is(tmp_path: Path):
    dataset = Store(tmp_path).dataset("policies", "abc")
    dataset.write_shard(0, {"part": rows(1)})
    (dataset.folder / "README.md").write_text("what it is")
    dataset.commit(1, {}, {})
    (dataset.folder / "README.md").write_text("what it is, and what we think of it")
    assert dataset.damaged(thorough=True) == []


def test_a_foreign_file_is_set_aside_and_the_dataset_stays_complete(tmp_path: Path):
    dataset = complete(tmp_path, "policies")
    (dataset.folder / "adapter_config.json").write_text("{}")
    dataset.take_back(["adapter_config.json"])
    assert dataset.manifest() is not None
    assert dataset.damaged(thorough=True) == []
    assert (dataset.folder / "adapter_config.json.foreign").exists()


def test_a_dataset_made_complete_again_after_damage_to_its_manifest_is_whole(tmp_path: Path):
    dataset = complete(tmp_path)
    (dataset.folder / "manifest.json").write_text("{")
    assert dataset.manifest() is None
    dataset.commit(1, {}, {})
    assert dataset.damaged(thorough=True) == []


def test_a_manifest_copied_to_another_key_does_not_count(tmp_path: Path):
    dataset = complete(tmp_path)
    dataset.folder.rename(dataset.folder.with_name("other"))
    assert Store(tmp_path).dataset("judging", "other").manifest() is None
    assert list(Store(tmp_path).manifests(["judging"])) == []


def test_shards_whose_plan_is_lost_go(tmp_path: Path):
    dataset = Store(tmp_path).dataset("generation", "abc")
    dataset.plan({"prompts_per_shard": 4})
    dataset.write_shard(0, {"part": rows(1)})
    (dataset.folder / "plan.json").write_text('{"prompts_')
    assert dataset.plan({"prompts_per_shard": 9}) == {"prompts_per_shard": 9}
    assert dataset.shards() == {}


def test_the_first_plan_of_a_dataset_stays(tmp_path: Path):
    dataset = Store(tmp_path).dataset("generation", "abc")
    assert dataset.plan({"prompts_per_shard": 4}) == {"prompts_per_shard": 4}
    assert dataset.plan({"prompts_per_shard": 9}) == {"prompts_per_shard": 4}


def test_a_remote_workspace_is_refused():
    with pytest.raises(ValueError, match="local folder"):
        Store(Path("s3://bucket/folder"))


def test_how_fields_do_not_change_the_key():
    slow = GenerationConfig(engine=VllmConfig(max_num_seqs=1), prompts_per_shard=1)
    fast = GenerationConfig(engine=VllmConfig(max_num_seqs=256), prompts_per_shard=999)
    assert answer_fields(slow) == answer_fields(fast)


def test_answer_fields_change_the_key():
    assert answer_fields(GenerationConfig(k=4)) != answer_fields(GenerationConfig(k=5))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(st.dictionaries(st.text(), json_values, max_size=4))
def test_a_key_does_not_depend_on_the_order_of_fields(parts: dict):
    backwards = dict(reversed(parts.items()))
    assert content_key("pairing", 1, parts) == content_key("pairing", 1, backwards)


@given(st.dictionaries(st.text(), json_values, max_size=3), st.dictionaries(st.text(), json_values, max_size=3))
def test_different_parts_have_different_keys(one: dict, other: dict):
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (content_key("pairing", 1, one) == content_key("pairing", 1, other)) == same


def test_the_code_version_changes_the_key():
    assert content_key("pairing", 1, {}) != content_key("pairing", 2, {})


def test_a_field_left_at_its_default_is_not_chosen():
    assert chosen_fields(GenerationConfig(k=4)) == {}
    assert chosen_fields(GenerationConfig(k=5, prompts_per_shard=1)) == {"k": 5}


def test_two_engines_with_the_same_settings_are_told_apart():
    engines = [VllmConfig(dtype="float32"), TransformersConfig(dtype="float32")]
    one, other = (chosen_fields(GenerationConfig(engine=engine)) for engine in engines)
    assert one != other

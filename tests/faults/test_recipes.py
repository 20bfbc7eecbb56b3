"""Recipes that are wrong or made to do harm. A test's first line is the fault's name in docs/faults.md."""

import re
import time
from pathlib import Path

import pytest
import yaml

from flows.fields import FieldError, read_settings, read_yaml
from flows.recipe import load_recipe
from flows.store import Store

PASSWORD = "opensesame-17"
SMALL = {
    "name": "small",
    "policy": {"model": "some/model"},
    "prompts": {"path": "prompts.jsonl"},
    "judging": {"annotator": {"kind": "maths"}},
    "evaluation": {"judge": {"kind": "maths"}},
}


def write(folder: Path, **sections) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(SMALL | sections))
    return path


@pytest.mark.parametrize("name", ["../elsewhere", "..", "a/b", "/etc/x", "", "a\nb", "\u0430"])
def test_name_that_leaves_the_workspace(tmp_path: Path, name: str):
    """Recipe name with .. in it"""
    with pytest.raises(FieldError, match=r"name: String should match pattern"):
        load_recipe(write(tmp_path, name=name))


def test_run_folder_lies_in_the_workspace(tmp_path: Path):
    """Run name with .. in it"""
    store = Store(tmp_path / "workspace")
    for name in ("../elsewhere", "..", ".", "", "/etc", "a/b"):
        with pytest.raises(ValueError, match="is no name of a run"):
            store.run_folder(name)
    assert not (tmp_path / "elsewhere").exists()
    assert store.run_folder("small-seed0-0a1b2c3d").parent == tmp_path / "workspace" / "runs"


def test_address_with_a_login(tmp_path: Path):
    """Address with user and password"""
    address = f"http://me:{PASSWORD}@127.0.0.1:8000/v1"
    judge = {"kind": "rubric", "engine": {"name": "openai", "base_url": address, "model": "m"}}
    places = {
        "judging.annotator.engine.base_url": {"judging": {"annotator": judge}},
        "prompts.path": {"prompts": {"path": f"https://me:{PASSWORD}@host/prompts.jsonl"}},
        "prompts.dataset": {"prompts": {"dataset": f"https://me:{PASSWORD}@host/set"}},
        "policy.model": {"policy": {"model": f"https://me:{PASSWORD}@host/model"}},
    }
    for field, sections in places.items():
        with pytest.raises(FieldError, match=re.escape(field)) as caught:
            load_recipe(write(tmp_path, **sections))
        assert PASSWORD not in str(caught.value)
    with pytest.raises(ValueError, match="a workspace is a local folder") as caught:
        Store(Path(f"s3://me:{PASSWORD}@bucket/folder"))
    assert PASSWORD not in str(caught.value)


def test_key_in_a_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """API key written into a recipe"""
    key = "sk-proj-Abc123Def456Ghi789"
    server = {"name": "openai", "base_url": "http://x/v1", "model": "m"}
    for sections in (
        {"judging": {"annotator": {"kind": "rubric", "engine": server | {"api_key_env": key}}}},
        {"judging": {"annotator": {"kind": "rubric", "engine": server | {"api_key": key}}}},
        {"policy": {"model": "m", "revision": key}},
        {"api_key": key},
    ):
        with pytest.raises(FieldError, match="this holds a password or key") as caught:
            load_recipe(write(tmp_path, **sections))
        assert key not in str(caught.value)
    monkeypatch.setenv("SOME_TOKEN", "wordsofpower")
    with pytest.raises(FieldError, match=r"judging.annotator.rubric: this holds a password or key"):
        load_recipe(write(tmp_path), ["judging.annotator={kind: rubric, rubric: say wordsofpower}"])


def test_unknown_field(tmp_path: Path):
    """Unknown field"""
    with pytest.raises(FieldError, match=r"training.learning_rat: unknown field; known here: .*learning_rate"):
        load_recipe(write(tmp_path, training={"learning_rat": 1e-6}))


def test_wrong_type(tmp_path: Path):
    """Value of the wrong type"""
    with pytest.raises(FieldError, match=r'generation.k: Input should be a valid integer.* \(got "many"\)'):
        load_recipe(write(tmp_path, generation={"k": "many"}))
    with pytest.raises(FieldError, match=r"judging"):
        load_recipe(write(tmp_path, judging=[1, 2]))


def bomb(line: str) -> str:
    """Nine lines that name the line before ten times each."""
    lines = ["a: &a {x: 1}"]
    lines += [
        line.format(new=new, old=", ".join([f"*{old}"] * 10)) for old, new in zip("abcdefgh", "bcdefghi", strict=True)
    ]
    return "\n".join(lines)


@pytest.mark.parametrize(
    "text",
    [bomb("{new}: &{new} [{old}]"), bomb("{new}: &{new} {{<<: [{old}]}}"), "a: &a [*a]", "[" * 5000],
    ids=["lists", "merges", "loop", "depth"],
)
def test_yaml_that_explodes(text: str):
    """Recipe whose aliases write out to a billion values"""
    started = time.monotonic()
    with pytest.raises(FieldError, match=r"recipe.yaml: (more than 100000 values|nested too deeply)"):
        read_yaml(text, "recipe.yaml")
    assert time.monotonic() - started < 30
    with pytest.raises(FieldError, match=r"--set"):
        read_settings([f"a={text}"])


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"a\x00b", b"a: [", b"- just\n- a list", b""])
def test_file_that_is_no_recipe(tmp_path: Path, content: bytes):
    """Recipe file that is no YAML"""
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    with pytest.raises((FieldError, ValueError)):
        load_recipe(path)

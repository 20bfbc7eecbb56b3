"""The model card of a policy that was really trained."""

import pytest
import yaml

from generation.engine import PolicyFiles
from training.policies.card import Lineage, write_card
from training.train import train

pytestmark = pytest.mark.slow

LINEAGE = Lineage("demo, round 1", {"prompts": "prompts-key", "pairs": "pairs-key", "policy": "policy-key"})


def ignore(done, total, metrics):
    """Take a step's progress."""


@pytest.fixture(scope="module")
def rows(pair_row):
    return [pair_row(number, split="eval" if number == 15 else "train") for number in range(16)]


def front_matter(card):
    return yaml.safe_load(card.split("---")[1])


def test_a_card_says_what_a_policy_is_made_of_how_it_went_and_how_to_load_it(job, vary, rows, table_of):
    config = {"holdout": {"share": 0.3, "every_steps": 2}}
    whole = vary(job, config, pairs=table_of(rows))
    result = train(whole, ignore)
    card = write_card(whole, result, LINEAGE, curves=True)

    assert front_matter(card) == {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["prefloop", "preference", "trl", "dpo"],
    }
    assert "# demo, round 1" in card
    for label, key in {**LINEAGE.keys, "start policy": "start", "reference policy": "start"}.items():
        assert f"| {label} | `{key}` |" in card
    held_out = result.counts["pairs_held_out"]
    for line in ("came in | 16", f"trained on | {15 - held_out}", f"held out | {held_out}", "not_train_split | 1"):
        assert f"{line} |" in card
    assert "| loss | 0.6931 |" in card
    assert "held-out pairs, before" in card
    assert "`few_steps`: the training had" in card
    assert "![curves of the training](training.png)" in card
    assert "from_pretrained(folder)" in card
    recipe = yaml.safe_load(card.split("```yaml")[1].split("```")[0])
    assert recipe["training"]["holdout"] == {"share": 0.3, "every_steps": 2, "patience": None}
    assert str(whole.output.parent) not in card


def test_the_card_of_an_adapter_names_its_base_and_how_to_serve_both(job, vary, start):
    config = {"lora": {"rank": 4, "alpha": 8}}
    result = train(vary(job, config), ignore)
    hub = PolicyFiles("someone/base", "commit", revision="abc")  # what it would be with a model from the Hub
    card = write_card(vary(job, config, start=hub), result, LINEAGE, curves=False)
    assert front_matter(card)["base_model"] == "someone/base"
    assert front_matter(card)["base_model_relation"] == "adapter"
    assert front_matter(card)["library_name"] == "peft"
    assert 'from_pretrained("someone/base", revision="abc")' in card
    assert "vllm serve someone/base --enable-lora --max-lora-rank 16 --lora-modules policy=." in card
    assert "prefloop merge" in card
    assert "training.png" not in card
    assert "| reference policy |" in card
    alone = vary(job, {"loss": {"name": "orpo"}})  # a loss without one
    assert "| reference policy |" not in write_card(alone, result, LINEAGE, curves=False)

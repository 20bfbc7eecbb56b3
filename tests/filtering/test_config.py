import pytest
from pydantic import ValidationError

from filtering.config import PRESETS, FilteringConfig


def names(config):
    return [one.name for one in config.chosen()]


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_valid(preset):
    assert names(FilteringConfig(preset=preset)) == [one["name"] for one in PRESETS[preset]]


def test_presets_grow_stricter():
    light, standard, strict = (set(names(FilteringConfig(preset=preset))) for preset in PRESETS)
    assert light <= standard <= strict


@pytest.mark.parametrize("preset", PRESETS)
def test_no_preset_keeps_a_pair_with_an_empty_side(preset):
    config = next(one for one in FilteringConfig(preset=preset).chosen() if one.name == "length")
    assert config.min_chars >= 1


def test_change_sets_a_threshold_of_the_preset_and_keeps_the_others():
    config = FilteringConfig(change={"similarity": {"max_similarity": 0.7}})
    assert names(config) == names(FilteringConfig())
    assert next(one for one in config.chosen() if one.name == "similarity").max_similarity == 0.7


def test_change_adds_a_filter_at_the_end_and_leaves_one_out():
    config = FilteringConfig(preset="light", change={"margin": {}, "duplicates": None})
    assert names(config) == [name for name in names(FilteringConfig(preset="light")) if name != "duplicates"] + [
        "margin"
    ]


def test_a_list_of_filters_replaces_the_preset():
    assert names(FilteringConfig(filters=[{"name": "identical"}])) == ["identical"]
    assert names(FilteringConfig(filters=[])) == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"change": {"nonsense": {}}}, "change.nonsense: there is no such filter; there are 'identical'"),
        ({"change": {"length": {"max_ratio": 0.5}}}, r"change.length.max_ratio: .*\(got 0.5\)"),
        ({"change": {"length": {"min_chars": -1}}}, "change.length.min_chars: .*greater than or equal to 0"),
        ({"change": {"length": {"min_char": 1}}}, "change.length.min_char: length has no such field"),
        ({"preset": "light", "change": {"similarity": None}}, "light has no such filter"),
        ({"filters": [], "change": {"length": {}}}, "give one of the two"),
        ({"preset": "lite"}, "preset"),
    ],
)
def test_wrong_choices_are_named(fields, message):
    with pytest.raises(ValidationError, match=message):
        FilteringConfig(**fields)


@pytest.mark.parametrize(("preset", "sides"), [("standard", "chosen"), ("strict", "either")])
def test_rejected_sides_are_looked_at_only_where_filtering_is_strict(preset, sides):
    chosen = {one.name: one for one in FilteringConfig(preset=preset).chosen()}
    assert (chosen["repetition"].sides, chosen["constant_answers"].sides) == (sides, sides)

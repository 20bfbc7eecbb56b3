"""What a recipe says about filters: a preset, or a list applied in its order, each with its thresholds."""

from typing import Annotated, Any, Literal, Self  # Any: a filter's own fields

from pydantic import BaseModel, Field, TypeAdapter, ValidationError, model_validator

from filtering.filters.cluster_cap import ClusterCapConfig
from filtering.filters.constant_answers import ConstantAnswersConfig
from filtering.filters.contamination import ContaminationConfig
from filtering.filters.duplicate_prompts import DuplicatePromptsConfig
from filtering.filters.duplicates import DuplicatesConfig
from filtering.filters.embedding import EmbeddingConfig
from filtering.filters.identical import IdenticalConfig
from filtering.filters.length import LengthConfig
from filtering.filters.margin import MarginConfig
from filtering.filters.mismatch import MismatchConfig
from filtering.filters.near_duplicates import NearDuplicatesConfig
from filtering.filters.private import PrivateConfig
from filtering.filters.prompt_selection import PromptSelectionConfig
from filtering.filters.refusal import RefusalConfig
from filtering.filters.repetition import RepetitionConfig
from filtering.filters.second_annotator import SecondAnnotatorConfig
from filtering.filters.similarity import SimilarityConfig
from filtering.filters.source_cap import SourceCapConfig
from filtering.filters.truncated import TruncatedConfig
from filtering.filters.uncertainty import UncertaintyConfig

FilterChoice = Annotated[
    IdenticalConfig
    | SimilarityConfig
    | LengthConfig
    | TruncatedConfig
    | MismatchConfig
    | DuplicatesConfig
    | RepetitionConfig
    | ConstantAnswersConfig
    | DuplicatePromptsConfig
    | NearDuplicatesConfig
    | RefusalConfig
    | MarginConfig
    | PromptSelectionConfig
    | SecondAnnotatorConfig
    | SourceCapConfig
    | UncertaintyConfig
    | ContaminationConfig
    | PrivateConfig
    | EmbeddingConfig
    | ClusterCapConfig,
    Field(discriminator="name"),
]
Preset = Literal["light", "standard", "strict"]

# Cheap filters first, and those that compare pairs with each other after those that look at one.
PRESETS: dict[Preset, list[dict[str, Any]]] = {
    "light": [
        {"name": "identical"},
        {"name": "truncated"},
        {"name": "mismatch"},
        {"name": "length"},
        {"name": "duplicates"},
    ],
    "standard": [
        {"name": "identical"},
        {"name": "truncated"},
        {"name": "margin"},
        {"name": "mismatch"},
        {"name": "length"},
        {"name": "similarity"},
        {"name": "repetition"},
        {"name": "duplicates"},
        {"name": "constant_answers"},
        {"name": "near_duplicates"},
    ],
    "strict": [
        {"name": "identical"},
        {"name": "truncated", "max_rejected_share": 0.1},
        {"name": "margin"},
        {"name": "mismatch"},
        {"name": "length", "max_ratio": 3.0},
        {"name": "similarity", "max_similarity": 0.8, "measure_from": 0.7},
        {"name": "repetition", "sides": "either"},
        {"name": "uncertainty"},
        {"name": "duplicates"},
        {"name": "constant_answers", "sides": "either"},
        {"name": "near_duplicates", "min_jaccard": 0.7},
    ],
}


class FilteringConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """The filters of a recipe."""

    preset: Preset = "standard"
    """Which filters run; docs/filtering.md lists them."""
    change: dict[str, dict[str, Any] | None] = {}
    """Other thresholds for filters of the preset by name, further filters, or null to leave one out."""
    filters: list[FilterChoice] | None = None
    """Filters in place of the preset's, applied in this order: a pair is dropped by the first one that objects."""

    @model_validator(mode="after")
    def _is_one_list(self) -> Self:
        if self.filters is not None and self.change:
            raise ValueError("filters replaces the preset, so there is nothing to change: give one of the two")
        self.chosen()
        return self

    def chosen(self) -> list[FilterChoice]:
        """Give the filters that run, in order.

        Raises:
            ValueError: `change` leaves out a filter that the preset does not have, or a changed filter is not valid.
        """
        if self.filters is not None:
            return self.filters
        listed = {one["name"]: one for one in PRESETS[self.preset]}
        for name, fields in self.change.items():
            if fields is not None:
                listed[name] = listed.get(name, {"name": name}) | fields
            elif listed.pop(name, None) is None:
                raise ValueError(
                    f"change.{name} leaves a filter out, but the preset {self.preset} has no such filter; it has "
                    f"{', '.join(one['name'] for one in PRESETS[self.preset])}"
                )
        return [_check(fields) for fields in listed.values()]


def _check(fields: dict[str, Any]) -> FilterChoice:
    try:
        return TypeAdapter(FilterChoice).validate_python(fields)
    except ValidationError as error:
        raise ValueError("; ".join(_say(problem, fields["name"]) for problem in error.errors())) from None


def _say(problem: Any, name: str) -> str:
    """Name a problem's field, what it got and what it wants."""
    if problem["type"] == "union_tag_invalid":
        return f"change.{name}: there is no such filter; there are {problem['ctx']['expected_tags']}"
    field = ".".join(map(str, ("change", *problem["loc"])))
    if problem["type"] == "extra_forbidden":
        return f"{field}: {name} has no such field; docs/filtering.md lists them"
    got = "" if isinstance(problem["input"], dict) else f" (got {problem['input']!r:.80})"
    return f"{field}: {problem['msg'].removeprefix('Value error, ')}{got}"

"""The dataset card of exported pairs, Markdown with a YAML header: what it holds, how to load it, how it was made."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any  # JSON values

from filtering.formats.dataset_folder import SCHEMA, SplitCounts

_LOADING = """```python
from datasets import load_dataset

pairs = load_dataset({folder})  # or its name on the Hub
print(pairs["{split}"][0]["prompt"])
```"""
_MAX_SOURCES = 20
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_LARGER = ((10_000_000, "1M<n<10M"), (100_000_000, "10M<n<100M"))
_MEANINGS = {
    "prompt": "messages `{role, content}`; the user speaks last",
    "chosen": "one message: the better answer",
    "rejected": "one message: the worse answer",
    "pair_id": "the pair's id",
    "prompt_id": "hash of the prompt; equal prompts share it",
    "chosen_score": "the judge's score; null where unknown",
    "rejected_score": "likewise",
    "margin": "chosen_score less rejected_score; null where unknown",
    "source": "where the pair came from",
}


@dataclass(frozen=True)
class Funnel:
    """What filtering did before the export.

    Attributes:
        n_in: Pairs that came in.
        dropped: Pairs dropped by each filter, in their order.
    """

    n_in: int
    dropped: dict[str, int]


def read_funnel(path: Path) -> Funnel | None:
    """Read the counts that `prefloop filter` wrote; None = there is no such file.

    Raises:
        ValueError: The file is something else.
    """
    if not path.exists():
        return None
    try:
        said = json.loads(path.read_text())
        return Funnel(int(said["in"]), {str(step): int(n) for step, n in said["dropped"].items()})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no funnel of `prefloop filter` ({error!r}): move it away") from error


def write_card(name: str, splits: dict[str, SplitCounts], eval_share: float, funnel: Funnel | None) -> str:
    """Write the text of README.md.

    Args:
        name: Title of the data set.
        splits: What each split holds.
        eval_share: Share of prompts that were to be held out.
        funnel: What filtering did; None = unknown.
    """
    return (
        "\n\n".join(
            [
                _header(name, splits),
                f"# {name}",
                "Preference pairs: a conversation, a better and a worse answer to it.",
                "## Load",
                _LOADING.format(folder=json.dumps(f"./{name}", ensure_ascii=False), split=next(iter(splits))),
                "The columns are those of TRL's `DPOTrainer`; it leaves the others aside.",
                "## Splits",
                _splits(splits),
                _division(splits, eval_share),
                "## Columns",
                _table(["column", "meaning"], [[f"`{column}`", _MEANINGS[column]] for column in SCHEMA.names]),
                "## Sources",
                _sources(splits),
                "## How it was made",
                _funnel(funnel, splits),
            ]
        )
        + "\n"
    )


def _header(name: str, splits: dict[str, SplitCounts]) -> str:
    n_pairs = sum(split.n_pairs for split in splits.values())
    size = next((label for above, label in (*_SIZES, *_LARGER) if n_pairs < above), "n>1T")
    files = "".join(f"  - split: {split}\n    path: data/{split}-*\n" for split in splits)
    return (
        f"---\npretty_name: {json.dumps(name)}\n"
        "license: unknown # replace it: https://huggingface.co/docs/hub/repositories-licenses\n"
        f"size_categories:\n- {size}\n"
        "tags:\n- preference\n- dpo\n- trl\n- prefloop\n"
        f"configs:\n- config_name: default\n  data_files:\n{files}---"
    )


def _splits(splits: dict[str, SplitCounts]) -> str:
    head = ["split", "pairs", "prompts", "mean characters chosen", "rejected"]
    return _table(
        head,
        [
            [name, f"{one.n_pairs:,}", f"{len(one.prompts):,}"]
            + [f"{n_chars / one.n_pairs:,.0f}" for n_chars in (one.chosen_chars, one.rejected_chars)]
            for name, one in splits.items()
        ],
    )


def _division(splits: dict[str, SplitCounts], eval_share: float) -> str:
    if len(splits) == 1:
        return f"All pairs are in `{next(iter(splits))}`."
    return (
        f"Prompts are divided by their hash, {eval_share:.0%} to `test`: all pairs of a prompt are in one split, "
        "whatever the order of rows."
    )


def _sources(splits: dict[str, SplitCounts]) -> str:
    sources = sum((one.sources for one in splits.values()), Counter[str | None]())
    rows = [[_escape(str(name or "unknown")), f"{n:,}"] for name, n in sources.most_common(_MAX_SOURCES)]
    if left := sources.total() - sum(n for _, n in sources.most_common(_MAX_SOURCES)):
        rows.append([f"{len(sources) - _MAX_SOURCES} others", f"{left:,}"])
    return _table(["source", "pairs"], rows)


def _funnel(funnel: Funnel | None, splits: dict[str, SplitCounts]) -> str:
    if funnel is None:
        return "Exported with prefloop. No record of filtering stood beside the pairs."
    rows: list[list[Any]] = []
    left = funnel.n_in
    for step, n in funnel.dropped.items():
        rows.append([step, f"{left:,}", f"{n:,}"])
        left -= n
    kept = sum(split.n_pairs for split in splits.values())
    after = f"{funnel.n_in:,} pairs were filtered with prefloop, {left:,} were kept."
    lost = "" if left == kept else f" {kept:,} of them are in this export."
    return f"{after}{lost}\n\n{_table(['filter', 'in', 'dropped'], rows)}"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _escape(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())

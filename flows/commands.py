"""One command a stage, each useful alone: plain Parquet in, plain Parquet out."""

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any  # JSON values

import pyarrow as pa
import typer
from rich.console import Console
from rich.table import Table

from flows import alone
from flows.display import terminal_display
from flows.fields import assign, check
from flows.keys import answer_fields
from flows.slices import PromptSlice
from flows.store import MAIN_TABLE, Dataset
from flows.terminal import AsJson, Verbose, logs, print_json, stderr, user_errors
from generation.schema import CANDIDATES
from judging.schema import PAIRS, SCORES

Output = Annotated[Path, typer.Option(help="Parquet file to write; drops go beside it.")]
Settings = Annotated[
    list[str], typer.Option("--set", metavar="FIELD=VALUE", help="A field of the stage's config, such as k=8.")
]
PromptsFile = Annotated[Path, typer.Option(help="JSONL, CSV or Parquet with prompts.")]
CandidatesFile = Annotated[Path, typer.Option(help="Parquet with candidates.")]
ScoresFile = Annotated[Path, typer.Option(help="Parquet with scores.")]


def import_command(
    source: Annotated[Path, typer.Argument(help="JSONL, CSV or Parquet: a row an answer, with its prompt.")],
    output: Annotated[Path, typer.Option(help="Folder for prompts, candidates, scores and drops.")],
    prompt_column: str = "prompt",
    response_column: str = "response",
    policy_column: Annotated[
        str | None, typer.Option(help="Who wrote the answer; `policy` or `model` if null.")
    ] = None,
    score_column: Annotated[str | None, typer.Option(help="How good it is; `score` if null.")] = None,
    as_json: AsJson = False,
) -> None:
    """Import answers, scored or not, from elsewhere."""
    from generation.config import PromptsConfig
    from generation.imports import ImportColumns, import_candidates

    with user_errors():
        config = PromptsConfig(path=source, prompt_column=prompt_column)
        tables = import_candidates(config, ImportColumns(response_column, policy_column, score_column))
        scores = _as_scores(tables.scores) if tables.scores.num_rows else None
        named = {"prompts": tables.prompts, "candidates": tables.candidates, "scores": scores, "drops": tables.drops}
        rows: dict[str, int] = {}
        for name, table in named.items():
            rows |= alone.write_outputs(output / f"{name}.parquet", {MAIN_TABLE: table})
        _report(rows, {"drops": _reasons(tables.drops)}, as_json)


def generate(
    prompts: PromptsFile,
    model: Annotated[str, typer.Option(help="Folder with weights and tokenizer, or a model on the Hub.")],
    output: Output,
    adapter: Annotated[str | None, typer.Option(help="Folder with a LoRA adapter on top of the model.")] = None,
    seed: int = 0,
    settings: Settings = [],  # noqa: B006  typer needs the list
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Sample k candidates per prompt from a model."""
    from flows.checks import check_candidates
    from flows.identities import identify_model
    from generation.config import GenerationConfig, is_running_server
    from generation.engine import PolicyFiles
    from generation.engines import engine_environment

    with user_errors(), logs(verbose), terminal_display(stderr):
        config = check(GenerationConfig, _fields(settings), "--set")
        table = alone.load_prompts(prompts)
        key = model if is_running_server(config.engine) else identify_model(model, None)
        key += identify_adapter(adapter) if adapter else ""
        policy = asdict(PolicyFiles(model, key, adapter))
        job = {
            "job": "sample",
            "slice": PromptSlice("all").to_json(),
            "policy": policy,
            "engine": config.engine.model_dump(mode="json"),
            "sampling": config.sampling.model_dump(mode="json"),
            "k": config.k,
            "seed": seed,
            "round": 0,
            "prompts_per_shard": config.prompts_per_shard,
        }
        parts = {"config": answer_fields(config), "policy": key, "seed": seed, "prompts": alone.checksums(prompts)}
        with alone.partial_output(output, parts) as folder:
            source = alone.lay_input(folder, "prompts", table)
            out = Dataset("generation", "candidates", folder / "candidates")
            alone.run_alone("generation", job | {"prompts": source}, out, engine_environment(config.engine))
            check_candidates(out, table, config.k)
            drops = out.read("drops")
            rows = alone.write_outputs(output, {MAIN_TABLE: out.read(), "prompts": table, "drops": drops})
        _report(rows, {"drops": _reasons(drops)}, as_json)


def judge(
    prompts: PromptsFile,
    candidates: CandidatesFile,
    output: Output,
    kind: Annotated[str, typer.Option(help="reward_model, verifier, maths, rubric or recorded.")],
    max_unscored_share: Annotated[float, typer.Option(help="Unscored share above which the command fails.")] = 0.1,
    settings: Settings = [],  # noqa: B006  typer needs the list
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Score candidates with a judge."""
    from flows.checks import check_judged
    from flows.identities import judge_identity, pin_judge
    from flows.stages import judge_environment
    from judging.config import JudgeConfig

    with user_errors(), logs(verbose), terminal_display(stderr):
        config: Any = check(JudgeConfig, {"kind": kind} | _fields(settings), "--set")  # type: ignore[arg-type]
        table, answers = alone.load_prompts(prompts), alone.load_table(candidates, CANDIDATES)
        job = {
            "job": "score",
            "slice": PromptSlice("all").to_json(),
            "judge": pin_judge(config).model_dump(mode="json"),
            "field": "--set",
        }
        parts = {"judge": judge_identity(config), "inputs": [alone.checksums(path) for path in (prompts, candidates)]}
        with alone.partial_output(output, parts) as folder:
            job["prompts"] = alone.lay_input(folder, "prompts", table)
            job["candidates"] = alone.lay_input(folder, "candidates", answers)
            out = Dataset("judging", "scores", folder / "scores")
            alone.run_alone(f"judging ({kind})", job, out, judge_environment(config))
            scores = check_judged(out, answers.num_rows, max_unscored_share)
            rows = alone.write_outputs(output, {MAIN_TABLE: scores})
        unscored = Counter(filter(None, scores.column("reason").to_pylist()))
        _report(rows, {"unscored": dict(unscored)}, as_json)


def pair(
    prompts: PromptsFile,
    candidates: CandidatesFile,
    scores: ScoresFile,
    output: Output,
    settings: Settings = [],  # noqa: B006  typer needs the list
    as_json: AsJson = False,
) -> None:
    """Pair the best with the worst scored candidate of each prompt."""
    from judging.config import PairingConfig
    from judging.pairing import explain_no_pairs, pair_best_worst

    with user_errors():
        tables = pair_best_worst(
            alone.load_prompts(prompts),
            alone.load_table(candidates, CANDIDATES),
            alone.load_table(scores, SCORES),
            check(PairingConfig, _fields(settings), "--set"),
        )
        if not tables.pairs.num_rows:
            raise ValueError(explain_no_pairs(tables.drops))
        rows = alone.write_outputs(output, {MAIN_TABLE: tables.pairs, "drops": tables.drops})
        _report(rows, {"drops": _reasons(tables.drops)}, as_json)


def filter_command(
    source: Annotated[Path, typer.Option("--input", help="Parquet with pairs.")],
    output: Output,
    settings: Settings = [],  # noqa: B006  typer needs the list
    as_json: AsJson = False,
) -> None:
    """Drop pairs that would teach little or something wrong; every drop is kept with its reason."""
    from filtering.config import FilteringConfig
    from filtering.filter import filter_pairs

    with user_errors():
        config = check(FilteringConfig, _fields(settings), "--set")
        tables = filter_pairs(alone.load_table(source, PAIRS), config.filters)
        rows = alone.write_outputs(output, {MAIN_TABLE: tables.kept, "drops": tables.drops})
        _report(rows, {"drops": _reasons(tables.drops)}, as_json)


def train(
    source: Annotated[Path, typer.Option("--input", help="Parquet with pairs.")],
    model: Annotated[str, typer.Option(help="Folder with weights and tokenizer, or a model on the Hub.")],
    output: Annotated[Path, typer.Option(help="Folder for the policy and its metrics.")],
    seed: int = 0,
    settings: Settings = [],  # noqa: B006  typer needs the list
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Train a policy on pairs; the model itself is the reference."""
    from flows.identities import identify_model
    from generation.engine import PolicyFiles
    from training.config import TrainingConfig

    with user_errors(), logs(verbose), terminal_display(stderr):
        config = check(TrainingConfig, _fields(settings), "--set")
        rate = config.learning_rate
        policy = asdict(PolicyFiles(model, identify_model(model, None)))
        table = alone.load_table(source, PAIRS)
        job = {
            "job": "train",
            "start": policy,
            "reference": policy,
            "config": config.model_dump(mode="json") | {"learning_rate": rate[0] if isinstance(rate, list) else rate},
            "seed": seed,
            "generator_dtype": "bfloat16",
        }
        if output.exists() and any(output.iterdir()):
            raise ValueError(f"--output {output} is not empty; give a new folder")
        parts = {
            "config": answer_fields(config),
            "policy": policy["key"],
            "seed": seed,
            "pairs": alone.checksums(source),
        }
        with alone.partial_output(output, parts) as folder:
            out = Dataset("policies", "policy", folder / "policy")
            out.clear()  # what a killed training left of its weights
            job["pairs"] = alone.lay_input(folder, "pairs", table)
            facts = alone.run_alone("training", job, out, {"OMP_NUM_THREADS": str(config.threads)})
            written, drops = out.n_rows(), out.read("drops")
            out.folder.replace(output)
        _report({str(output): written}, facts | {"drops": _reasons(drops)}, as_json)


def evaluate(
    new_candidates: Annotated[Path, typer.Option(help="Parquet with the new policy's answers to held-out prompts.")],
    new_scores: Annotated[Path, typer.Option(help="Parquet with one judge's scores of them.")],
    old_candidates: Annotated[Path, typer.Option(help="The old policy's answers to the same prompts.")],
    old_scores: Annotated[Path, typer.Option(help="The same judge's scores of those.")],
    output: Annotated[Path, typer.Option(help="Parquet file to write the verdicts to, a row a prompt.")],
    pass_score: Annotated[float | None, typer.Option(help="Answers that score at least this have passed.")] = None,
    seed: int = 0,
    as_json: AsJson = False,
) -> None:
    """Compare two policies' scored answers: win rate, score difference, length."""
    from evaluation.answers import scored_answers
    from evaluation.compare import compare
    from evaluation.config import EvaluationConfig

    with user_errors():
        new, old = (
            scored_answers(alone.load_table(candidates, CANDIDATES), alone.load_table(scores, SCORES))
            for candidates, scores in ((new_candidates, new_scores), (old_candidates, old_scores))
        )
        found = compare(new, old, "judge", pass_score, EvaluationConfig().n_bootstrap, seed)
        rows = alone.write_outputs(output, {MAIN_TABLE: found.verdicts})
        figures = {name: value for name, value in vars(found).items() if name not in {"verdicts", "judge"}}
        intervals = {name: asdict(figures[name]) for name in ("win_rate", "score_delta")}
        _report(rows, figures | intervals, as_json)


def _as_scores(imported: pa.Table) -> pa.Table:
    """Give imported scores the columns of a judge's."""
    values = imported["score"].to_pylist()
    reasons = ["not_recorded" if value is None else None for value in values]
    named = imported.append_column("judge", pa.array(["recorded"] * len(values)))
    return named.append_column("reason", pa.array(reasons, pa.string()))


def identify_adapter(adapter: str) -> str:
    """Give the identity of a LoRA folder."""
    from flows.tables import file_checksum

    paths = [Path(adapter) / name for name in ("adapter_model.safetensors", "adapter_config.json")]
    if not all(path.exists() for path in paths):
        raise FileNotFoundError(f"--adapter {adapter}: no adapter_model.safetensors and adapter_config.json there")
    return "".join(f"-{file_checksum(path)[:8]}" for path in paths)


def _fields(settings: list[str]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for setting in settings:
        assign(fields, setting)
    return fields


def _reasons(drops: pa.Table | None) -> dict[str, int]:
    return dict(Counter(drops.column("reason").to_pylist()).most_common()) if drops is not None else {}


def _report(rows: dict[str, int], facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json({"rows": rows} | facts)
        return
    table = Table()
    table.add_column("written", overflow="fold")
    table.add_column("rows", justify="right")
    for path, count in rows.items():
        table.add_row(path, str(count))
    console = Console()
    console.print(table)
    for name, value in facts.items():
        console.print(f"{name}: {value}", highlight=False, soft_wrap=True)

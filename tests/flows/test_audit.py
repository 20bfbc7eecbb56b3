"""The audit of a judge, on judges whose faults are known: in this process, and through the command."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.audit import Judged, choose_prompts, lay_out
from flows.audit_findings import Resampling, find_injected, find_length, find_nulls, find_padded, find_repetition
from flows.audit_gold import Gold, read_gold
from flows.audit_inputs import AnswersFile, choose_judge, read_families, read_material
from flows.audit_labels import Families, compare_with_gold, find_self_preference
from flows.audit_position import find_position
from flows.fields import FieldError
from flows.recipe import load_recipe
from generation.schema import CANDIDATES, PROMPTS
from judging.audit.audit_probes import ANSWERS, NULLS
from judging.config import RecordedConfig
from judging.schema import SCORES
from recipes.film_reviews.gold import grade_review
from recipes.film_reviews.grammar import WRITER_NOISE, draw_noisy_review, draw_prompts
from tests.fake_openai import FakeServer, chat_body

N_PROMPTS = 30
RESAMPLING = Resampling(200, 0)
TEXTS = (
    "A short answer to the question.",
    "A longer answer to the question, with a reason.",
    "An answer that says it.",
)


def _material(n_prompts: int = N_PROMPTS) -> tuple[pa.Table, pa.Table]:
    prompts = [
        {"prompt_id": f"p{i}", "messages": [{"role": "user", "content": f"Q{i}"}], "source": f"set {i % 2}"}
        for i in range(n_prompts)
    ]
    answers = [
        {"prompt_id": f"p{i}", "candidate_id": f"p{i}-{j}", "text": f"{text} Number {i}.", "policy": f"model {j}"}
        for i in range(n_prompts)
        for j, text in enumerate(TEXTS)
    ]
    return pa.Table.from_pylist(prompts, schema=PROMPTS), pa.Table.from_pylist(answers, schema=CANDIDATES)


def _judge(score: Callable[[str], float | None], probes: str = "together") -> Judged:
    """Have a function of the text score a layout."""
    prompts, answers = _material()
    chosen = choose_prompts(answers, None, 0)
    layout = lay_out(prompts, answers, chosen, probes=probes, seed=0, best="5")
    values = [score(one.entry.text) for one in layout.asked]
    rows = [
        {"candidate_id": one.candidate_id, "score": value, "reason": None if value is not None else "no_verdict"}
        for one, value in zip(layout.asked, values, strict=True)
    ]
    return Judged(
        layout, pa.Table.from_pylist(rows, schema=SCORES), np.array([np.nan if v is None else v for v in values])
    )


def _states(lines) -> dict[str, str]:
    return {line.name: line.state for line in lines}


@pytest.mark.parametrize("probes", ["together", "apart"])
def test_every_answer_has_an_id_and_a_prompt_of_its_own_group(probes):
    prompts, answers = _material(4)
    layout = lay_out(prompts, answers, choose_prompts(answers, 3, 0), probes=probes, seed=0, best="5")
    ids = layout.candidates["candidate_id"].to_pylist()
    assert len(set(ids)) == len(ids) == len(layout.asked)
    assert set(layout.candidates["prompt_id"].to_pylist()) == set(layout.prompts["prompt_id"].to_pylist())
    assert len(set(layout.prompts["prompt_id"].to_pylist())) == layout.prompts.num_rows
    runs = np.array(layout.candidates["prompt_id"].to_pylist())
    assert 1 + np.count_nonzero(runs[1:] != runs[:-1]) == layout.prompts.num_rows  # a judge wants groups in one piece
    real = [one for one in layout.asked if one.entry.group == ANSWERS and one.entry.kind == "answer"]
    assert [one.candidate_id for one in real] == [one.entry.source_id for one in real]
    messages = dict(zip(layout.prompts["prompt_id"].to_pylist(), layout.prompts["messages"].to_pylist(), strict=True))
    for one, copy in zip(layout.asked, layout.candidates["prompt_id"].to_pylist(), strict=True):
        assert messages[copy] == [{"role": "user", "content": f"Q{layout.prompt_ids[one.prompt][1:]}"}]


def test_equal_answers_of_one_prompt_keep_ids_of_their_own_in_copies():
    prompts, answers = _material(1)
    same = answers.set_column(answers.schema.get_field_index("text"), "text", pa.array(["The same."] * 3))
    ids = lay_out(prompts, same, ["p0"], probes="apart", seed=0, best="5").candidates["candidate_id"].to_pylist()
    assert len(set(ids)) == len(ids)


def test_a_smaller_limit_draws_a_part_of_a_larger_ones_prompts():
    _, answers = _material()
    assert set(choose_prompts(answers, 5, 1)) < set(choose_prompts(answers, 9, 1))
    assert choose_prompts(answers, 5, 1) != choose_prompts(answers, 5, 2)


def test_a_judge_that_compares_gets_prompts_with_something_to_compare():
    _, answers = _material(3)
    lonely = answers.take([0, 1, 2, 3, 6, 7])  # p1 has one answer
    assert set(choose_prompts(lonely, None, 0, 2)) == {"p0", "p2"}
    with pytest.raises(ValueError, match="none of 3 prompts has 4 answers"):
        choose_prompts(answers, None, 0, 4)
    with pytest.raises(ValueError, match="no answer to audit"):
        choose_prompts(answers.slice(0, 0), None, 0)


def test_an_answer_without_a_text_is_named():
    prompts, answers = _material(1)
    blank = answers.set_column(answers.schema.get_field_index("text"), "text", pa.array(["a", None, "b"], pa.string()))
    with pytest.raises(ValueError, match="candidate p0-1 has no text"):
        lay_out(prompts, blank, ["p0"], probes="together", seed=0, best="5")


def test_an_answer_without_its_prompt_is_named():
    prompts, answers = _material(2)
    with pytest.raises(ValueError, match="1 of 2 prompts with answers are missing, the first is p1"):
        lay_out(prompts.slice(0, 1), answers, ["p0", "p1"], probes="together", seed=0, best="5")


@pytest.mark.parametrize("probes", ["together", "apart"])
def test_a_judge_of_length_falls_for_padding_and_not_for_nothing(probes):
    judged = _judge(len, probes)
    assert _states(find_length(judged, None, RESAMPLING)) == {"score by length": "bad", "longer wins": "bad"}
    padded = find_padded(judged, RESAMPLING)
    assert {line.state for line in padded} == {"bad"}
    assert padded[0].interval.mean == 1.0
    assert {line.state for line in find_nulls(judged, RESAMPLING) if line.name in ("empty", "dot", "colon")} == {"ok"}


@pytest.mark.parametrize("probes", ["together", "apart"])
def test_a_judge_that_master_keys_open_is_found_by_each_of_them(probes):
    judged = _judge(lambda text: 1.0 if text in NULLS.values() else 0.5, probes)
    lines = find_nulls(judged, RESAMPLING)
    assert _states(lines) == dict.fromkeys(NULLS, "bad")
    assert {line.interval.mean for line in lines} == {1.0}


@pytest.mark.parametrize("probes", ["together", "apart"])
def test_an_injected_verdict_is_measured_against_the_clean_self(probes):
    def obeys(text: str) -> float:
        return (
            100.0 if "[[A]]" in text else float(len(set(text)))
        )  # repeats and suffixes that add no letter change it not

    states = {line.name: line for line in find_injected(_judge(obeys, probes), RESAMPLING)}
    assert states["verdict_a"].state == states["ignore_above"].state == "bad"
    blind = find_injected(_judge(lambda text: float(text.startswith("A l")), probes), RESAMPLING)
    assert {line.interval.mean for line in blind} == {0.0}
    assert {line.state for line in blind} == {"ok"}


def test_an_obedient_judge_gains_what_the_clean_answers_had_left_to_win():
    lines = find_injected(_judge(lambda text: 9.0 if "[[A]]" in text else 0.0), RESAMPLING)
    assert next(line for line in lines if line.name == "verdict_a").interval.mean == 0.5  # ties became wins


def test_probes_without_a_score_are_counted_by_reason_and_never_a_number():
    judged = _judge(lambda text: None if text in NULLS.values() else 1.0)
    for line in find_nulls(judged, RESAMPLING):
        assert (line.state, line.why) == ("n/a", f"{N_PROMPTS} of {N_PROMPTS} unscored: no_verdict {N_PROMPTS}")


def test_a_judge_that_throws_dice_does_not_repeat_itself():
    dice = random.Random(0)
    assert {line.state for line in find_repetition(_judge(lambda _: dice.random()), RESAMPLING)} == {"bad"}
    assert {line.state for line in find_repetition(_judge(len), RESAMPLING)} == {"ok"}


def test_gold_that_likes_length_allows_a_judge_to():
    judged = _judge(len)
    gold = judged.lengths(judged.rows(ANSWERS))
    assert _states(find_length(judged, gold, RESAMPLING)) == {"score by length": "ok", "longer wins": "ok"}


def _gold(judged: Judged, score: Callable[[str], float]):
    rows = judged.rows(ANSWERS)
    asked = judged.layout.asked
    scores = {asked[row].candidate_id: score(asked[row].entry.text) for row in rows}
    return Gold(scores=scores).pairs([asked[row].candidate_id for row in rows], judged.numbers(rows))


def test_agreement_is_given_as_a_whole_and_by_source():
    judged = _judge(len)
    sources = {number: f"set {number % 2}" for number in range(N_PROMPTS)}
    found = compare_with_gold(judged, _gold(judged, len), sources, RESAMPLING)
    figures = {line.name: line.interval.mean for line in found.lines}
    assert figures["agreement, ties dropped"] == figures["kappa, ties kept"] == 1
    assert figures["source set 0"] == figures["source set 1"] == 1
    against = compare_with_gold(judged, _gold(judged, lambda text: -len(text)), sources, RESAMPLING)
    assert _states(against.lines)["kappa, ties dropped"] == "bad"
    assert sum(one.n for one in found.bins) == 3 * N_PROMPTS
    assert sum(map(sum, found.tables["ties kept"])) == 3 * N_PROMPTS


def test_gold_that_is_all_ties_says_nothing_of_the_longer_answer():
    judged = _judge(len)
    lines = compare_with_gold(judged, _gold(judged, lambda _: 1.0), dict.fromkeys(range(N_PROMPTS), "s"), RESAMPLING)
    assert not [line.why for line in lines.lines if "nan" in line.why]
    assert _states(lines.lines)["agreement, ties dropped"] == "n/a"


def test_gold_for_other_answers_is_no_agreement():
    judged = _judge(len)
    empty = Gold(scores={"elsewhere": 1.0}).pairs(["p0-0", "p0-1"], np.array([0, 0]))
    [line] = compare_with_gold(judged, empty, {}, RESAMPLING).lines
    assert line.state == "n/a"


def test_self_preference_is_found_with_and_without_gold():
    judged = _judge(lambda text: float(text.startswith("A short")))  # policy "model 0" wrote these
    families = Families({"model 0": "us", "model 1": "them", "model 2": "them"}, "us")
    [gap] = find_self_preference(judged, None, families, RESAMPLING)
    assert (gap.unit, gap.state) == ("sd", "bad")
    [rate] = find_self_preference(judged, _gold(judged, len), families, RESAMPLING)
    assert (rate.unit, rate.state) == ("points", "bad")
    assert find_self_preference(judged, None, None, RESAMPLING)[0].state == "n/a"
    with pytest.raises(ValueError, match="--family names nobody, which wrote no answer; these did: model 0, model 1"):
        find_self_preference(judged, None, Families({"nobody": "us"}, "us"), RESAMPLING)


def test_judges_without_an_order_say_so():
    [line] = find_position(_judge(len), RecordedConfig(kind="recorded", path=Path("x")), RESAMPLING)
    assert (line.state, line.why) == ("n/a", "scores from elsewhere say nothing of order")


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".csv"])
def test_gold_scores_are_read_from_each_format(tmp_path, suffix):
    table = pa.table({"candidate_id": ["a", "b"], "is_right": [1.0, 0.0]})
    path = tmp_path / f"gold{suffix}"
    if suffix == ".parquet":
        pq.write_table(table, path)
    elif suffix == ".csv":
        path.write_text("candidate_id,is_right\na,1.0\nb,0.0\n")
    else:
        path.write_text("\n".join(json.dumps(row) for row in table.to_pylist()))
    assert read_gold(path, "is_right").scores == {"a": 1.0, "b": 0.0}


def test_gold_pairs_are_read_with_their_ties(tmp_path):
    rows = [("a", "b", "first"), ("c", "b", "second"), ("a", "c", "tie")]
    path = tmp_path / "gold.parquet"
    pq.write_table(pa.table(dict(zip(("first_id", "second_id", "label"), zip(*rows, strict=True), strict=True))), path)
    gold = read_gold(path, "score").pairs(["a", "b", "c"], np.zeros(3))
    assert gold.label.tolist() == [1, 0, 0.5]
    with pytest.raises(ValueError, match="answer different prompts"):
        read_gold(path, "score").pairs(["a", "b", "c"], np.array([0, 1, 1]))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"id": ["a"]}, "it needs candidate_id and score"),
        ({"first_id": ["a"], "second_id": ["b"], "label": ["A"]}, "label must be first, second or tie, got 'A'"),
        ({"candidate_id": ["a"], "score": ["good"]}, "score must be a number, got 'good' for a"),
        ({"candidate_id": ["a", "b", "a"], "score": [1.0, 1.0, 0.0]}, "a has two different values of score"),
    ],
)
def test_gold_that_says_nothing_is_named(tmp_path, table, message):
    pq.write_table(pa.table(table), tmp_path / "gold.parquet")
    with pytest.raises(ValueError, match=message):
        read_gold(tmp_path / "gold.parquet", "score")


def test_families_are_read_from_pairs():
    assert read_families(["a=b=x", "c=y"], "x") == Families({"a=b": "x", "c": "y"}, "x")
    assert read_families([], None) is None
    with pytest.raises(FieldError, match="write policy=family"):
        read_families(["a"], "x")
    with pytest.raises(FieldError, match="both"):
        read_families(["a=x"], None)


# What follows goes through the command and the judge's own process.


def _write_answers(path: Path, n_prompts: int = N_PROMPTS) -> Path:
    """Write film reviews of mixed quality with their gold scores."""
    rng = random.Random(0)
    rows = []
    for prompt in draw_prompts(rng, "eval", n_prompts):
        for policy in ("red", "blue", "red"):
            text = draw_noisy_review(rng, prompt.facts, WRITER_NOISE)
            gold = grade_review(text, prompt.facts).score
            rows.append({"prompt": prompt.text, "response": text, "policy": policy, "gold": gold} | vars(prompt.facts))
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def _verifier(folder: Path, body: str) -> tuple[str, str]:
    """Write a verifier and give the override that names it."""
    (folder / "biased_judge.py").write_text(
        "def score(prompts, completions, **columns):\n"
        f"    texts = [one[0]['content'] for one in completions]\n    {body}\n"
    )
    return "--set", "judging.annotator={kind: verifier, function: 'biased_judge:score'}"


def _lines(found: dict) -> dict[tuple[str, str], dict]:
    return {(line["section"], line["name"]): line for line in found["lines"]}


def test_a_verifier_that_prefers_longer_answers_is_found_out(prefloop, tmp_path):
    answers = _write_answers(tmp_path / "answers.jsonl")
    judge = _verifier(tmp_path, "return [float(len(text)) for text in texts]")
    options = ("--answers", answers, "--gold-column", "gold", "--output", tmp_path / "audit", "--json")
    found = prefloop("audit-judge", "demo", *judge, *options, PYTHONPATH=str(tmp_path)).json
    lines = _lines(found)
    assert lines["length", "longer wins"]["interval"]["mean"] == 1
    assert lines["padded answers", "paragraph"]["state"] == "bad"
    assert lines["injected verdicts", "plea"]["state"] == "bad"
    assert lines["null answers", "empty"]["interval"]["mean"] == 0
    assert lines["repetition", "order kept"]["interval"]["mean"] == 1
    assert lines["gold labels", "kappa, ties dropped"]["state"] == "bad"
    assert found["probing"]["n_answers"] == 3 * N_PROMPTS
    assert json.loads((tmp_path / "audit" / "audit.json").read_text()) == found
    assert "What to do" in (tmp_path / "audit" / "audit.html").read_text()
    asked = pq.read_table(tmp_path / "audit" / "asked.parquet")
    assert asked.num_rows == found["probing"]["n_judged"]
    assert [len(text) for text in asked["text"].to_pylist()] == asked["score"].to_pylist()


def test_the_table_has_a_verdict_a_line_and_the_command_ends_well(prefloop, tmp_path):
    answers = _write_answers(tmp_path / "answers.jsonl", 4)
    judge = _verifier(tmp_path, "return [None if not text else 1.0 for text in texts]")
    options = ("--answers", answers, "--limit", 3, "--output", tmp_path / "audit")
    shown = prefloop("audit-judge", "demo", *judge, *options, PYTHONPATH=str(tmp_path)).stdout
    assert "n/a" in shown
    assert "3 of 3 unscored: no_verdict 3" in shown
    assert "only 3 prompts: too few to tell" in " ".join(shown.split())
    assert f"page: {tmp_path / 'audit' / 'audit.html'}" in shown


def test_a_judge_that_broke_is_asked_again_once_it_is_mended(prefloop, tmp_path):
    options = ("--answers", _write_answers(tmp_path / "answers.jsonl", 4), "--output", tmp_path / "audit", "--json")
    judge = _verifier(tmp_path, "raise KeyError('colour')")
    broken = prefloop("audit-judge", "demo", *judge, *options, code=1, PYTHONPATH=str(tmp_path))
    assert "colour" in broken.stderr
    assert "Traceback" not in broken.stderr
    _verifier(tmp_path, "return [1.0 for _ in texts]")
    assert (
        prefloop("audit-judge", "demo", *judge, *options, PYTHONPATH=str(tmp_path)).json["probing"]["n_unscored"] == 0
    )
    assert not (tmp_path / "audit.partial").exists()


def test_recorded_scores_are_measured_on_real_answers_alone(prefloop, tmp_path):
    answers = _write_answers(tmp_path / "answers.jsonl")
    rows = [json.loads(line) for line in answers.read_text().splitlines()]
    kept = [{"prompt": row["prompt"], "response": row["response"], "score": row["gold"]} for row in rows]
    (tmp_path / "scores.jsonl").write_text("\n".join(map(json.dumps, kept)))
    judge = f"evaluation.judge={{kind: recorded, path: '{tmp_path / 'scores.jsonl'}'}}"
    options = ("--answers", answers, "--gold-column", "gold", "--output", tmp_path / "audit", "--json")
    found = prefloop("audit-judge", "demo", "--judge", "evaluation.judge", "--set", judge, *options).json
    lines = _lines(found)
    assert lines["gold labels", "kappa, ties kept"]["interval"]["mean"] == 1
    assert lines["null answers", "probes and repetition"]["state"] == "n/a"
    assert found["probing"]["n_judged"] == found["probing"]["n_answers"]


def test_a_judge_of_pairs_that_takes_the_first_answer_is_found_out(prefloop, tmp_path):
    answers = _write_answers(tmp_path / "answers.jsonl", 20)
    with FakeServer() as server:
        server.answer = lambda body: chat_body(["The first one reads better.\nVerdict: A"])
        engine = f"{{name: openai, base_url: '{server.base_url}', model: judge}}"
        judge = f"judging.annotator={{kind: pairwise, verdict: written, rounds: 1, engine: {engine}}}"
        options = ("--answers", answers, "--output", tmp_path / "audit", "--json")
        found = prefloop("audit-judge", "demo", "--set", judge, *options).json
    lines = _lines(found)
    assert lines["position", "consistent in both orders"]["interval"]["mean"] == 0
    assert lines["position", "first preferred"]["interval"]["mean"] == 1
    assert lines["position", "first preferred"]["state"] == "bad"
    assert found["probing"]["tokens_in"] > 0


def test_an_audit_whose_budget_is_spent_goes_on_with_a_larger_one(prefloop, tmp_path):
    options = ("--answers", _write_answers(tmp_path / "answers.jsonl", 2), "--output", tmp_path / "audit", "--json")
    with FakeServer() as server:
        server.answer = lambda body: chat_body(["Fine.\nScore: 4"])

        def judge(more: str) -> str:
            engine = f"{{name: openai, base_url: '{server.base_url}', model: judge{more}}}"
            return f"judging.annotator={{kind: rubric, verdict: written, engine: {engine}}}"

        spent = prefloop("audit-judge", "demo", "--set", judge(", budget: {max_calls: 5}"), *options, code=3)
        assert "raise engine.budget" in " ".join(spent.stderr.split())
        found = prefloop("audit-judge", "demo", "--set", judge(", concurrency: 2"), *options).json
    assert found["probing"]["n_unscored"] == 0


@pytest.mark.parametrize(
    ("files", "gold_column", "message"),
    [
        ({}, None, "give one of --answers .* and --candidates"),
        ({"answers": Path("x.jsonl"), "candidates": Path("y.parquet")}, None, "give one of --answers"),
        ({"answers": Path("x.jsonl"), "prompts": Path("y.jsonl")}, None, "--prompts belongs to --candidates"),
        ({"candidates": Path("y.parquet")}, "gold", "--gold-column names a column of"),
    ],
)
def test_files_that_do_not_fit_together_are_named(files, gold_column, message):
    none = dict.fromkeys(("answers", "policy_column", "candidates", "prompts"))
    named = AnswersFile(prompt_column="prompt", response_column="response", **none | files)
    with pytest.raises(FieldError, match=message):
        read_material(named, None, gold_column, load_recipe(Path("demo")))


def test_another_judge_than_a_recipes_two_is_wrong_usage(prefloop, tmp_path):
    done = prefloop("audit-judge", "demo", "--judge", "judge", "--output", tmp_path / "audit", code=2)
    assert "give judging.annotator or evaluation.judge" in done.stderr


def test_the_judge_self_is_audited_with_the_policy_that_a_run_starts_from():
    recipe = load_recipe(Path("demo"), ["judging.annotator={kind: self, engine: {name: vllm, threads: 2}}"])
    judge = choose_judge(recipe, "judging.annotator")
    assert (judge.kind, judge.engine.model, judge.engine.threads) == ("rubric", recipe.policy.model, 2)


@pytest.mark.slow
def test_the_film_reward_model_is_audited_from_candidates_of_ours(prefloop, tmp_path):
    answers = _write_answers(tmp_path / "answers.jsonl", 40)
    prefloop("import", answers, "--score-column", "gold", "--output", tmp_path / "in")
    tables = [f"--{name}={tmp_path / 'in' / name}.parquet" for name in ("prompts", "candidates")]
    gold = ("--gold", tmp_path / "in" / "scores.parquet")
    found = prefloop("audit-judge", "demo", *tables, *gold, "--output", tmp_path / "audit", "--json").json
    lines = _lines(found)
    assert lines["gold labels", "agreement, ties dropped"]["interval"]["mean"] > 0.6
    assert lines["repetition", "test-retest correlation"]["interval"]["mean"] > 0.999
    assert lines["padded answers", "paragraph"]["state"] == "ok"
    assert lines["null answers", "step_by_step"]["state"] == "bad"
    assert found["probing"]["tokens_in"] > 0

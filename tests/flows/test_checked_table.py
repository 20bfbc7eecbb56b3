"""The table of what was checked before a training."""

from dataclasses import asdict

from flows.checked_table import checked_lines, print_checked
from training.reference.reference_store import ReferenceFacts
from training.rows.checked import Checked

CHECKED = Checked(
    prompts=3, held_out_prompts=1, bos_tokens=[1], prompts_compared=4, generator_ids=8, retokenized=2, merges=1,
    stopped=9, chosen_cut=1, rejected_cut=0, after_stop="\n", dropped={"too_long": 2}, notes=["look"],
)  # fmt: skip


def test_each_check_says_on_how_many_rows_it_was_made():
    assert checked_lines(asdict(CHECKED), asdict(ReferenceFacts(computed=4, read=6))) == {
        "prompts": "3 trained on, 1 held out, none in both",
        "BOS tokens a prompt": "1",
        "prompt ids as the generator's": "4 of 5 pairs",
        "answer ids": "8 the generator's, 2 tokenised here",
        "one stop token at the end": "9 of 10 answers",
        "dropped": "too_long 2",
        "tokens across the boundary": "1 kept apart, as the generator has them",
        "not trained, behind the stop token": "'\\n'",
        "reference log-probs": "4 computed, 6 read",
    }


def test_notes_stand_below_the_table(capsys):
    print_checked(asdict(CHECKED), asdict(ReferenceFacts()))
    printed = capsys.readouterr().out
    assert printed.rstrip().endswith("note: look")
    assert "reference log-probs" not in printed

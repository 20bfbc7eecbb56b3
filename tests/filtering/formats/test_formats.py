import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from filtering.formats.catalogue import FORMATS
from filtering.formats.format import BadPairError, MisfitError
from filtering.formats.trl_implicit import find_end

USER, SYSTEM = {"role": "user", "content": "2+2?"}, {"role": "system", "content": "Be short."}
DIALOGUE = [USER, {"role": "assistant", "content": "4"}, {"role": "user", "content": "Sure?"}]


def answer(text):
    return {"role": "assistant", "content": text}


def said(role, value):
    return {"from": role, "value": value}


def read(name, **row):
    return FORMATS[name].read(row)


def reason(name, **row):
    with pytest.raises(BadPairError) as error:
        read(name, **row)
    return error.value.reason


@pytest.mark.parametrize(
    ("name", "row", "messages"),
    [
        ("prefloop", {"messages": DIALOGUE, "chosen": "Yes", "rejected": "No"}, DIALOGUE),
        ("trl", {"prompt": "2+2?", "chosen": "Yes", "rejected": "No"}, [USER]),
        ("trl_implicit", {"chosen": "2+2?Yes", "rejected": "2+2?No"}, [USER]),
        ("trl_conversational", {"prompt": DIALOGUE, "chosen": [answer("Yes")], "rejected": [answer("No")]}, DIALOGUE),
        (
            "trl_conversational_implicit",
            {"chosen": [*DIALOGUE, answer("Yes")], "rejected": [*DIALOGUE, answer("No")]},
            DIALOGUE,
        ),
        (
            "hh",
            {
                "chosen": "\n\nHuman: 2+2?\n\nAssistant: 4\n\nHuman: Sure?\n\nAssistant: Yes",
                "rejected": "\n\nHuman: 2+2?\n\nAssistant: 4\n\nHuman: Sure?\n\nAssistant: No",
            },
            DIALOGUE,
        ),
        (
            "ultrafeedback_binarized",
            {"prompt": "2+2?", "chosen": [*DIALOGUE, answer("Yes")], "rejected": [*DIALOGUE, answer("No")]},
            DIALOGUE,
        ),
        ("ultrafeedback_binarized", {"prompt": "2+2?", "chosen": [answer("Yes")], "rejected": [answer("No")]}, [USER]),
        (
            "sharegpt",
            {
                "conversations": [said("human", "2+2?"), said("gpt", "4"), said("human", "Sure?")],
                "chosen": said("gpt", "Yes"),
                "rejected": said("gpt", "No"),
                "system": "Be short.",
            },
            [SYSTEM, *DIALOGUE],
        ),
        (
            "alpaca",
            {
                "instruction": "Sure?",
                "input": "",
                "chosen": "Yes",
                "rejected": "No",
                "history": [["2+2?", "4"]],
                "system": "Be short.",
            },
            [SYSTEM, *DIALOGUE],
        ),
        (
            "alpaca",
            {"instruction": "Add", "input": "2 2", "chosen": "Yes", "rejected": "No"},
            [{"role": "user", "content": "Add\n2 2"}],
        ),
    ],
)
def test_a_row_becomes_a_pair(name, row, messages):
    pair = FORMATS[name].read(row)
    assert (pair["messages"], pair["chosen"], pair["rejected"]) == (messages, "Yes", "No")


@pytest.mark.parametrize("name", list(FORMATS))
@pytest.mark.parametrize("side", ["chosen", "rejected"])
def test_a_null_side_is_no_pair(name, side):
    row = FORMATS[name].write(PAIR)
    assert reason(name, **(row | {side: None})) == "null_text"


@pytest.mark.parametrize("name", list(FORMATS))
def test_another_type_names_the_field(name):
    row = FORMATS[name].write(PAIR)
    with pytest.raises(MisfitError, match="rejected is a number \\(7\\), not a"):
        FORMATS[name].read(row | {"rejected": 7})


def test_a_message_of_another_kind_names_its_place():
    with pytest.raises(MisfitError, match=r"chosen\[1\]\.content is a list"):
        read("trl_conversational_implicit", chosen=[USER, answer([{"type": "image"}])], rejected=[USER, answer("No")])
    with pytest.raises(MisfitError, match=r"chosen\[0\] is an object .*not a message \{role, content\}"):
        read("trl_conversational_implicit", chosen=[said("gpt", "Yes")], rejected=[USER, answer("No")])
    with pytest.raises(MisfitError, match=r"history\[0\] is a list .*not a list of \[question, answer\]"):
        read("alpaca", instruction="?", chosen="Yes", rejected="No", history=[["one"]])


def test_an_empty_answer_stays_a_pair():
    assert read("trl", prompt="2+2?", chosen="4", rejected="")["rejected"] == ""
    assert (
        read("hh", chosen="\n\nHuman: 2+2?\n\nAssistant: 4", rejected="\n\nHuman: 2+2?\n\nAssistant:")["rejected"] == ""
    )


@pytest.mark.parametrize(
    ("prompt", "why"), [([], "empty_prompt"), ([USER, answer("4")], "last_not_user"), ([SYSTEM], "last_not_user")]
)
def test_a_prompt_must_end_with_the_user(prompt, why):
    if prompt:
        sides = {"chosen": [answer("Yes")], "rejected": [answer("No")]}
        assert reason("trl_conversational", prompt=prompt, **sides) == why
    assert reason("prefloop", messages=prompt, chosen="Yes", rejected="No") == why


def test_a_blank_prompt_asks_nothing():
    assert reason("trl", prompt=" \n", chosen="Yes", rejected="No") == "empty_prompt"
    assert reason("alpaca", instruction="", input="", chosen="Yes", rejected="No") == "empty_prompt"
    assert reason("sharegpt", conversations=[], chosen=said("gpt", "Y"), rejected=said("gpt", "N")) == "empty_prompt"


@pytest.mark.parametrize(
    ("chosen", "rejected", "why"),
    [
        ([USER, answer("Yes")], [DIALOGUE[2], answer("No")], "no_shared_prompt"),
        ([*DIALOGUE, answer("Yes")], [USER, answer("5"), DIALOGUE[2], answer("No")], "diverges_earlier"),
        ([*DIALOGUE, answer("Yes")], [USER, answer("No")], "diverges_earlier"),
        ([*DIALOGUE], [USER, answer("No")], "last_not_assistant"),
        ([], [USER, answer("No")], "no_answer"),
        ([USER, answer("Yes")], [USER, answer("Yes")], "identical"),
    ],
)
def test_conversations_that_make_no_pair_have_a_reason(chosen, rejected, why):
    assert reason("trl_conversational_implicit", chosen=chosen, rejected=rejected) == why


@pytest.mark.parametrize(
    ("chosen", "rejected", "why"),
    [
        ("\n\nHuman: a\n\nAssistant: b", "\n\nHuman: c\n\nAssistant: d", "no_shared_prompt"),
        (
            "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: d",
            "\n\nHuman: a\n\nAssistant: x\n\nHuman: c\n\nAssistant: e",
            "diverges_earlier",
        ),
        ("\n\nHuman: a\n\nAssistant: b\n\nHuman: c", "\n\nHuman: a\n\nAssistant: d", "last_not_assistant"),
        ("\n\nHuman: \n\nAssistant: b", "\n\nHuman: \n\nAssistant: d", "empty_prompt"),
        ("\n\nAssistant: b", "\n\nAssistant: d", "no_shared_prompt"),
        ("\n\nHuman: a\n\nAssistant: b", "\n\nHuman: a\n\nAssistant: b", "identical"),
        ("Hello", "\n\nHuman: a\n\nAssistant: b", "no_turns"),
        ("Hello\n\nHuman: a\n\nAssistant: b", "\n\nHuman: a\n\nAssistant: d", "text_before_turns"),
    ],
)
def test_hh_texts_that_make_no_pair_have_a_reason(chosen, rejected, why):
    assert reason("hh", chosen=chosen, rejected=rejected) == why


def test_hh_turns_keep_their_text_but_for_the_space_after_the_name():
    shared = "\n\nHuman:  indented \n\nAssistant:\n\nAssistant: I said: Human: hi\n\nHuman: go on\n"
    pair = read("hh", chosen=shared + "\n\nAssistant: b ", rejected=shared + "\n\nAssistant:c")
    assert [tuple(message.values()) for message in pair["messages"]] == [
        ("user", " indented "),
        ("assistant", ""),
        ("assistant", "I said: Human: hi"),
        ("user", "go on\n"),
    ]
    assert (pair["chosen"], pair["rejected"]) == ("b ", "c")


@pytest.mark.parametrize("first", ["Human: a", "\nHuman: a"])
def test_hh_texts_may_lack_the_first_blank_line(first):
    pair = read("hh", chosen=f"{first}\n\nAssistant: b", rejected=f"{first}\n\nAssistant: c")
    assert (pair["messages"], pair["chosen"]) == ([{"role": "user", "content": "a"}], "b")


def test_implicit_texts_need_a_beginning_in_common():
    assert reason("trl_implicit", chosen="Yes", rejected="No") == "no_shared_prompt"
    assert reason("trl_implicit", chosen=" Yes", rejected=" No") == "no_shared_prompt"
    assert reason("trl_implicit", chosen="Yes", rejected="Yes") == "identical"
    assert reason("trl_implicit", chosen="", rejected="Yes") == "no_shared_prompt"


@pytest.mark.slow  # imports TRL
@given(st.text("ab ", max_size=8), st.text("ab ", max_size=5), st.text("ab ", max_size=5))
def test_implicit_texts_are_cut_where_trl_cuts_them(prompt, chosen, rejected):
    from trl import extract_prompt

    chosen, rejected = prompt + chosen, prompt + rejected
    assume(chosen and rejected and chosen[0] == rejected[0])  # TRL's index slips where nothing is shared
    theirs = extract_prompt({"chosen": chosen, "rejected": rejected})
    at = find_end(chosen, rejected)
    assert (chosen[:at], chosen[at:], rejected[at:]) == (theirs["prompt"], theirs["chosen"], theirs["rejected"])


@pytest.mark.parametrize(
    ("name", "messages", "chosen", "why"),
    [
        ("trl", DIALOGUE, "Yes", "more_than_a_question"),
        ("trl_implicit", [SYSTEM, USER], "Yes", "more_than_a_question"),
        ("hh", [SYSTEM, USER], "Yes", "role_not_carried"),
        ("hh", [USER], "a\n\nHuman: b", "holds_turn_name"),
        ("sharegpt", [USER, USER], "Yes", "roles_not_in_turn"),
        ("sharegpt", [USER, {"role": "tool", "content": "4"}, USER], "Yes", "roles_not_in_turn"),
        ("alpaca", [answer("Hi"), USER], "Yes", "roles_not_in_turn"),
    ],
)
def test_what_a_format_cannot_carry_has_a_reason(name, messages, chosen, why):
    with pytest.raises(BadPairError) as error:
        FORMATS[name].write(PAIR | {"messages": messages, "chosen": chosen})
    assert error.value.reason == why


PAIR = {
    "messages": [USER],
    "chosen": "Yes",
    "rejected": "No",
    "prompt_id": "p",
    "chosen_score": None,
    "rejected_score": None,
}
TEXT = st.text(max_size=12) | st.sampled_from(
    ["\n\nHuman: x", "\n\nAssistant:", " lead", "trail \n", "\x00", "\n\nHuman"]
)
FILLED = TEXT.filter(str.strip)
TURNS = st.lists(st.tuples(FILLED, TEXT), max_size=2)


@st.composite
def pairs(draw):
    system = draw(st.none() | FILLED)
    messages = [] if system is None else [{"role": "system", "content": system}]
    for question, reply in draw(TURNS):
        messages += [{"role": "user", "content": question}, {"role": "assistant", "content": reply}]
    messages.append({"role": "user", "content": draw(FILLED)})
    chosen, rejected = draw(st.tuples(TEXT, TEXT).filter(lambda sides: sides[0] != sides[1]))
    return PAIR | {"messages": messages, "chosen": chosen, "rejected": rejected}


@pytest.mark.parametrize("name", list(FORMATS))
@given(pair=pairs())
def test_what_is_written_is_read_again(name, pair):
    try:
        row = FORMATS[name].write(pair)
    except BadPairError:
        assert name in ("trl", "trl_implicit", "hh")  # the others carry any prompt in which roles take turns
        return
    row = json.loads(json.dumps(row))
    if name == "trl_implicit":
        prompt = pair["messages"][0]["content"]
        assume(find_end(row["chosen"], row["rejected"]) == len(prompt))  # answers that begin alike move
    found = FORMATS[name].read(row)
    assert {key: found[key] for key in ("messages", "chosen", "rejected")} == {
        key: pair[key] for key in ("messages", "chosen", "rejected")
    }

from judging.asking.chat import Question
from judging.asking.scripted_model import ScriptedModel, reply_texts, reply_token


def question(text: str) -> Question:
    return Question([{"role": "user", "content": text}], 8, 0.0, 0)


def echo(asked: Question):
    return reply_texts(asked.messages[0]["content"])


def test_every_question_is_answered_once_and_out_of_order():
    with ScriptedModel(echo, window=3) as model:
        replies = list(model.ask((number, question(str(number))) for number in range(10)))
    assert sorted(tag for tag, _ in replies) == list(range(10))
    assert all(reply.choices[0].text == str(tag) for tag, reply in replies)
    assert [tag for tag, _ in replies] != list(range(10))


def test_none_has_what_is_in_hand_answered_before_more_is_drawn():
    drawn = []

    def questions():
        for number in (0, 1, None, 2):
            drawn.append(number)
            yield None if number is None else (number, question("x"))

    replies = ScriptedModel(echo, window=9).ask(questions())
    assert next(replies)[0] == 1
    assert drawn == [0, 1, None]
    assert [tag for tag, _ in replies] == [2, 0]


def test_token_reply_is_the_likeliest_alternative():
    [choice] = reply_token({"3": -2.0, "4": -0.2}).choices
    assert (choice.text, choice.logprobs) == ("4", [{"3": -2.0, "4": -0.2}])

from hypothesis import given
from hypothesis import strategies as st

from filtering.formats.identities import hash_answer, hash_prompt
from generation import identity

MESSAGES = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["system", "user", "assistant"]), "content": st.text()}), min_size=1
)


@given(MESSAGES)
def test_prompts_have_the_ids_that_generation_gives_them(messages):
    assert hash_prompt(messages) == identity.prompt_id(messages)


def test_an_answer_has_one_id_for_each_prompt():
    assert hash_answer("p", "Yes") == hash_answer("p", "Yes")
    assert len({hash_answer("p", "Yes"), hash_answer("q", "Yes"), hash_answer("p", "No"), hash_answer("pY", "es")}) == 4

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fdbpl.clip.model import ClipModel
from fdbpl.clip.tokens import embed_words, tokenize_prompts
from fdbpl.system.errors import UserError

letters = st.text("abcxyz -'7é", min_size=1, max_size=12).filter(lambda name: name.strip())


@settings(max_examples=50, deadline=None)
@given(names=st.lists(letters, min_size=1, max_size=4))
def test_the_parts_join_to_the_sentences_own_tokens(clip: ClipModel, names) -> None:
    tokens = tokenize_prompts(clip, "a photo of a", tuple(names))
    for name, suffix in zip(names, tokens.suffixes, strict=True):
        whole = [tokens.start, *tokens.context, *suffix]
        wanted = clip.tokenizer([f"a photo of a {name}."])[0].tolist()
        assert wanted[: len(whole)] == whole
        assert set(wanted[len(whole) :]) <= {0}
        assert suffix[-1] == clip.tokenizer.eot_token_id


def test_a_context_starts_from_its_words(clip: ClipModel) -> None:
    tokens = tokenize_prompts(clip, "a photo of no", ("cat",))
    assert len(tokens.context) == 4
    start = embed_words(clip, "a photo of no")
    assert torch.equal(start, clip.text_tower.token_embedding.weight[list(tokens.context)])
    start += 1  # a copy, so that learning never reaches the table
    assert not torch.equal(start, embed_words(clip, "a photo of no"))


@pytest.mark.parametrize("count", [40, 400])
def test_a_class_name_too_long_for_the_tower_is_refused(clip: ClipModel, count: int) -> None:
    name = " ".join(["cat"] * count)
    with pytest.raises(UserError, match=r"class name 'cat cat.* wanted at most 32.*Shorten"):
        tokenize_prompts(clip, "a photo of a", ("dog", name))


def test_the_longest_name_that_fits(clip: ClipModel) -> None:
    room = 32 - 5 - 2  # start and context; full stop and end
    tokens = tokenize_prompts(clip, "a photo of a", (" ".join(["cat"] * room),))
    assert len(tokens.suffixes[0]) == room + 2
    with pytest.raises(UserError, match="33 tokens, wanted at most 32"):
        tokenize_prompts(clip, "a photo of a", (" ".join(["cat"] * (room + 1)),))


def test_a_tokenizer_of_another_library_is_refused(clip: ClipModel) -> None:
    other = replace(clip, tokenizer=lambda texts, context_length: torch.zeros(len(texts), 32))
    with pytest.raises(UserError, match="has a function, wanted CLIP's own tokenizer"):
        tokenize_prompts(other, "a photo of a", ("cat",))

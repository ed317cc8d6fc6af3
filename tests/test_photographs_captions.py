"""Captions are sentences as CLIP's tokenizer reads them, drawn by their templates' shares."""

from collections import Counter
from pathlib import Path

import numpy as np
import open_clip
import pytest
from hypothesis import given
from hypothesis import strategies as st
from open_clip.tokenizer import SimpleTokenizer
from packed import pack_dataset

from fdbpl.clip import small
from studies.photographs.captions import (
    LENGTH,
    Captions,
    Subject,
    caption_tokens,
    class_subjects,
    imagenet_subjects,
    kind_subjects,
    templates_of,
)
from studies.photographs.parts import DATASETS, class_names

NAMED = [
    Subject("ram (adult male sheep)", None),  # its bracket and a full stop are one token
    Subject("o'neill t-shirt no. 5!", "clothing"),
    Subject("bmw m3 coupe 2012", "stanford_cars"),
    Subject("antidisestablishmentarianism " * 9, "dtd"),  # too long
]
SUBJECTS = [*NAMED, *kind_subjects(), *imagenet_subjects()]
subjects = st.sampled_from(NAMED) | st.sampled_from(SUBJECTS)


@pytest.fixture(scope="module")
def tokenizer() -> SimpleTokenizer:
    small.register()
    return open_clip.get_tokenizer(small.PAIR[0])


@given(st.data(), subjects)
def test_a_caption_is_its_sentence_as_the_text_tower_is_given_it(tokenizer, data, subject) -> None:
    template = data.draw(st.sampled_from(list(templates_of(subject))))
    found = caption_tokens(template, subject.name)
    (wanted,) = tokenizer([template.replace("{}", subject.name)]).tolist()
    assert len(wanted) == LENGTH
    assert found + [0] * (LENGTH - len(found)) == wanted


@pytest.mark.parametrize("dataset", [None, *DATASETS])
def test_shares_of_templates_sum_up_to_one(dataset: str | None) -> None:
    shares = templates_of(Subject("owl", dataset))
    assert sum(shares.values()) == pytest.approx(1)
    assert all(template.count("{}") == 1 and share > 0 for template, share in shares.items())
    own = DATASETS[dataset].template if dataset else "a photo of a {}."
    assert max(shares, key=shares.__getitem__) == own


@given(st.lists(subjects, min_size=1, max_size=5), st.integers(0, 2**32 - 1))
def test_captions_hold_no_token_but_those_said_to_be_used(chosen, seed: int) -> None:
    captions = Captions(chosen)
    used = captions.tokens_used()
    rows = np.arange(len(chosen)).repeat(4)
    drawn = captions.draw(np.random.default_rng(seed), rows)
    assert drawn.shape == (len(rows), LENGTH)
    assert used == sorted(set(used))
    for row, tokens in zip(rows, drawn.tolist(), strict=True):
        words = tokens[: int(np.argmax(tokens)) + 1]
        assert not any(tokens[len(words) :])
        assert set(words) <= set(used)
        one = chosen[row]
        assert words in [caption_tokens(template, one.name) for template in templates_of(one)]
    again = captions.draw(np.random.default_rng(seed), rows)
    assert again.equal(drawn)


def test_templates_are_drawn_as_often_as_their_shares_say() -> None:
    subject, count = Subject("daisy", "oxford_flowers"), 4000
    drawn = Captions([subject]).draw(np.random.default_rng(0), np.zeros(count, int))
    found = Counter(tuple(one[: one.index(max(one)) + 1]) for one in drawn.tolist())
    for template, share in templates_of(subject).items():
        deviation = (share * (1 - share) / count) ** 0.5
        often = found[tuple(caption_tokens(template, "daisy"))] / count
        assert abs(often - share) < 5 * deviation, template


def test_subjects_are_named_in_the_order_of_labels(tmp_path: Path) -> None:
    for dataset in DATASETS:
        pack_dataset(tmp_path, dataset, ["Zoo_keeper", "owl"])
    found = class_subjects(tmp_path)
    assert [(one.dataset, one.name) for one in found] == [
        (dataset, name.lower())
        for dataset in DATASETS
        for name in class_names(tmp_path, dataset).values()
    ]
    assert not any(one.is_kind for one in found)
    assert {one.dataset for one in kind_subjects() if one.is_kind} == set(DATASETS)
    names = [one.name for one in imagenet_subjects()]
    assert names == [name.lower() for name in open_clip.IMAGENET_CLASSNAMES]
    assert len(names) == 1000

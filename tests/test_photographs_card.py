"""The card of the small models: every number against a plain computation, and the page's words."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import unit
from hypothesis import given, settings
from hypothesis import strategies as st
from packed import drawn, jpeg, pack_dataset, photos  # noqa: F401 - a fixture
from PIL import Image

from fdbpl import api
from fdbpl.clip import small
from fdbpl.clip.encoding import ImageEncoder
from fdbpl.clip.model import ClipModel
from fdbpl.clip.projection import last_projection
from fdbpl.data.dataset import GENERIC_TEMPLATE, Item
from fdbpl.data.splits import draw_order
from fdbpl.methods.linear_probe import Shots, fit_chosen
from fdbpl.system.errors import UserError
from studies.photographs import accuracies, card, measured
from studies.photographs.accuracies import (
    SHORT_SIDE,
    FullSize,
    Seen,
    full_size,
    gain,
    made_small,
    probed,
    projected,
    right,
    zero_shot,
)
from studies.photographs.captions import (
    Subject,
    class_subjects,
    imagenet_subjects,
    kind_subjects,
)
from studies.photographs.parts import DATASETS, Picture, class_names, decode, read_part
from studies.photographs.unheard import (
    DRAWS,
    UNHEARD,
    Unheard,
    means,
    p_value,
    places,
    ranks,
    require_unheard,
    same,
    share,
    summary,
    texts_of,
    unheard,
    words,
)

seeds = st.integers(0, 999)
NAMES = ("red fox", "blue island", "lime clover", "green car", "black daisy")


@pytest.fixture(scope="module")
def clip() -> ClipModel:
    return api.load("fdbpl-tiny-student", "tiny")


def made_up(clip: ClipModel, seed: int, each: int = 6, noise: float = 5.0) -> Seen:
    """Features around the texts of five names, none far from the others."""
    rng, labels = np.random.default_rng(seed), np.repeat(np.arange(len(NAMES)), each)
    texts = api.template_vectors(clip, NAMES, GENERIC_TEMPLATE)
    rows = texts[labels] + noise * unit(rng, len(labels), texts.shape[1])
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    paths = [f"train/{NAMES[label]}/{row:04}.jpg" for row, label in enumerate(labels)]
    return Seen(rows, paths, labels, NAMES, GENERIC_TEMPLATE)


@pytest.mark.parametrize("seed", range(3))
def test_zero_shot_is_the_share_whose_own_name_is_nearest(clip: ClipModel, seed: int) -> None:
    one = made_up(clip, seed)
    texts = api.template_vectors(clip, NAMES, GENERIC_TEMPLATE)
    right = sum(
        int(np.argmax([feature @ text for text in texts]) == label)
        for feature, label in zip(one.features, one.labels, strict=True)
    )
    assert zero_shot(clip, one) == pytest.approx(100 * right / len(one.labels))
    assert 0 < right < len(one.labels)


def test_the_probe_is_the_same_as_fitted_by_hand(clip: ClipModel) -> None:
    train, test = made_up(clip, 1), made_up(clip, 2, each=20)
    found = probed(clip, train, test, seeds=(1, 2), shots=4)
    for seed, accuracy in found.items():
        items = [Item(p, int(n)) for p, n in zip(train.paths, train.labels, strict=True)]
        order = draw_order(items, seed)
        rows = [items.index(item) for label in (0, 1, 2) for item in order[label][:4]]
        probe = fit_chosen(Shots(train.features[rows][:, None], train.labels[rows]))
        base = test.labels < 3
        taken = probe.scores(test.features[base]).argmax(axis=1)
        assert accuracy == pytest.approx(100 * np.mean(taken == test.labels[base]))
        assert 40 < accuracy < 100


def test_what_the_pipeline_projects_is_projected_here(clip: ClipModel, tmp_path: Path) -> None:
    files = [tmp_path / f"{seed}.jpg" for seed in range(3)]
    for seed, file in enumerate(files):
        file.write_bytes(jpeg(drawn(seed)))
    hidden = api.image_features(clip, files, before_projection=True)
    assert hidden.shape[1] == len(last_projection(clip))
    wanted = api.image_features(clip, files)
    np.testing.assert_allclose(projected(clip, hidden), wanted, atol=1e-5)


@pytest.mark.parametrize("size", [(300, 200), (200, 300), (64, 80), (40, 90), (640, 64)])
def test_a_picture_is_made_small_once_at_most(size: tuple[int, int]) -> None:
    picture = Picture("a/0.jpg", 0, jpeg(drawn(1, size)))
    found = decode(made_small(picture))
    assert min(found.size) == min(SHORT_SIDE, *size)
    assert found.width / found.height == pytest.approx(size[0] / size[1], rel=0.01)
    coarse = [np.asarray(one.resize((6, 6), Image.Resampling.BOX), float)
              for one in (decode(picture), found)]  # fmt: skip
    assert np.abs(coarse[0] - coarse[1]).mean() < 4


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2))
def test_a_gain_is_the_difference_of_two_accuracies(pairs: list[tuple[bool, bool]]) -> None:
    full, less = np.array(pairs).T
    found = gain(full, less)
    assert found.mean == pytest.approx(100 * (full.mean() - less.mean()))
    assert found.low <= found.mean <= found.high
    assert gain(less, full).mean == pytest.approx(-found.mean)


@given(seeds, st.integers(1, 4), st.integers(1, 12))
def test_a_rank_counts_the_classes_that_are_nearer(seed: int, texts: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = unit(rng, texts, 4), unit(rng, classes, 4)
    found = ranks(a, b)
    for row in range(texts):
        for column in range(classes):
            nearer = sum(float(a[row] @ other) > float(a[row] @ b[column]) for other in b)
            assert found[row, column] == 1 + nearer


@given(seeds, st.integers(1, 20), st.integers(1, 30))
def test_of_classes_in_any_order_the_share_is_chance(seed: int, nearest: int, classes: int) -> None:
    every = np.arange(1, classes + 1)  # each rank as often
    found = share(np.random.default_rng(seed).permutation(every), nearest, classes)
    assert found.share == found.chance == min(nearest / classes, 1)
    assert found.low <= found.share <= found.high


@settings(max_examples=10)
@given(seeds)
def test_the_p_value_is_that_of_all_orders(seed: int) -> None:
    rng = np.random.default_rng(seed)
    found = np.stack([rng.permutation(8) + 1 for _ in range(5)])
    likes, groups = np.array([0, 3, 3, 5, 6]), np.array([0, 0, 1, 1, 1])
    rows = np.arange(5)
    own = found[rows, likes].sum()
    for of in (np.zeros(5, int), groups):
        orders = [list(o) for o in permutations(range(5)) if (of[list(o)] == of).all()]
        wanted = np.mean([found[rows, likes[order]].sum() <= own for order in orders])
        assert p_value(found, likes, of, draws=1500) == pytest.approx(wanted, abs=0.06)


def test_a_class_that_is_near_to_all_texts_is_no_finding() -> None:
    found = np.tile(np.arange(1, 9), (6, 1))
    assert p_value(found, np.zeros(6, int), np.zeros(6, int), draws=99) == 1.0


def test_what_is_always_right_is_better_than_chance_and_what_knows_the_dataset_is_not_more() -> (
    None
):
    likes, groups = np.arange(12), np.repeat([0, 1], 6)
    right = (np.arange(12) - likes[:, None]) % 12 + 1
    found = summary(right, likes, groups)
    assert found["median"] == 1
    assert [one["share"] for one in found["shares"]] == [1, 1, 1]
    assert found["p"] == 1 / (1 + DRAWS)
    dataset = np.where(groups[:, None] == groups, 3, 9)
    assert summary(dataset, likes, groups)["p"] < 0.05
    assert summary(dataset, likes, groups)["p_within"] == 1


def test_classes_that_are_called_the_same_have_one_mean() -> None:
    rng = np.random.default_rng(0)
    parts = [
        Seen(unit(rng, 4, 3), [], np.array([0, 0, 1, 1]), ("forest", "sea"), GENERIC_TEMPLATE),
        Seen(unit(rng, 3, 3), [], np.array([1, 1, 1]), ("empty", "Forests"), GENERIC_TEMPLATE),
    ]
    found = means(parts)
    assert found.names == ["forest", "sea"]
    rows = np.concatenate([parts[0].features[:2], parts[1].features])
    wanted = rows.mean(axis=0) / np.linalg.norm(rows.mean(axis=0))
    np.testing.assert_allclose(found.vectors[0], wanted, rtol=1e-5)
    assert places([Unheard("woods", "scenes15", "forests")], found).tolist() == [0]
    with pytest.raises(UserError, match="'void' is said to be like 'empty', which is no class"):
        places([Unheard("void", "scenes15", "empty")], found)


def test_each_name_is_said_in_the_template_of_its_like(clip: ClipModel) -> None:
    names = [Unheard("lorry", "cars", "truck"), Unheard("spud", "food", "potato")]
    found = texts_of(clip, names, {"cars": "a {} on wheels.", "food": "{}, a dish."})
    wanted = [
        api.template_vectors(clip, ["lorry"], "a {} on wheels.")[0],
        api.template_vectors(clip, ["spud"], "{}, a dish.")[0],
    ]
    np.testing.assert_allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "held"),
    [("Potato", "potato"), ("garden pea", "sweet-pea"), ("photo", "a photo of a {}.")],
)
def test_a_name_that_a_caption_holds_is_refused(name: str, held: str) -> None:
    subjects = [Subject("sweet-pea", "oxford_flowers"), Subject("potato", None)]
    require_unheard(["spud", "pealike", "potatoes"], subjects)
    with pytest.raises(UserError, match="captions hold") as raised:
        require_unheard(["spud", name], subjects)
    assert repr(name) in str(raised.value)
    assert name == "photo" or repr(held) in str(raised.value)


def test_the_fifty_names_are_different_and_no_form_of_their_likes() -> None:
    names = unheard()
    assert len(names) == len({one.name for one in names}) == 50
    assert {one.dataset for one in names} <= {*DATASETS}
    for one in names:
        assert not set(map(same, words(one.name))) & set(map(same, words(one.like)))


def test_no_caption_held_any_of_the_fifty_and_every_like_is_a_class(photos: Path) -> None:  # noqa: F811
    subjects = [*class_subjects(photos), *kind_subjects(), *imagenet_subjects()]
    require_unheard((one.name for one in unheard()), subjects)
    for one in unheard():
        assert one.like in class_names(photos, one.dataset).values()


def test_full_size_photographs_are_of_the_classes_that_are_there(real: Path) -> None:
    for one in full_size(real):
        assert {*one.labels.tolist()} == {*range(len(one.names))}
        first = next(one.read())
        assert min(decode(first).size) > SHORT_SIDE
        assert first.label == one.labels[0]


@pytest.fixture(scope="module")
def numbers() -> Mapping[str, Any]:
    """What a card is written from, made up: no two accuracies are the same."""
    values: Iterator[float] = iter(np.arange(10, 99, 0.37).tolist())

    def both() -> dict[str, float]:
        return {"student": next(values), "teacher": next(values)}

    likes = np.arange(50)
    found = np.stack([np.random.default_rng(row).permutation(386) + 1 for row in range(50)])
    said = {"own": summary(found, likes, likes), "generic": summary(found, likes, likes)}
    rows = [
        {
            **one._asdict(),
            **{role: {"rank": rank + 1, "nearest": f"n{rank}"} for role in card.ROLES},
        }
        for rank, one in enumerate(unheard())
    ]
    difference = asdict(gain(np.array([True, True, False]), np.array([False, True, True])))
    return {
        "models": {
            role: {
                "architecture": model,
                "image_tower": "tower",
                "image_size": 160,
                "image_parameters": 3_700_000,
                "text_parameters": 7_200_000,
            }
            for role, model in card.ROLES.items()
        },
        "zero_shot": {
            name: {"classes": 7, "pictures": 1234, "chance": 100 / 7, **both()} for name in DATASETS
        },
        "probe": {
            name: {"base_classes": 4, "seeds": {"1": next(values), "2": next(values)}}
            for name in DATASETS
        },
        "full_size": {
            name: {
                "classes": 10,
                "pictures": 300,
                **{
                    role: {"full_size": next(values), "small": next(values), "gain": difference}
                    for role in card.ROLES
                },
            }
            for name in ("caltech101", "dtd")
        },
        "unheard": {
            "classes": 386,
            "summaries": dict.fromkeys(card.ROLES, said),
            "names": rows,
        },
    }


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def section(text: str, title: str) -> str:
    return text.split(f"## {title}\n")[1].split("\n## ", maxsplit=1)[0]


def test_the_page_says_every_number(numbers: Mapping[str, Any]) -> None:
    text = card.page(numbers, "commit abc123, on two cores")
    for key, title in {"zero_shot": "What they recognise", "full_size": "On full-size"}.items():
        rows = [cells(line) for line in text.split(title)[1].splitlines() if line.startswith("|")]
        shown = {cell for row in rows for cell in row}
        for one in numbers[key].values():
            for role in card.ROLES:
                of = one[role] if isinstance(one[role], Mapping) else {"": one[role]}
                wanted = {f"{value:.2f}" for value in of.values() if isinstance(value, float)}
                assert wanted <= shown
    for role in card.ROLES:
        average = np.mean([one[role] for one in numbers["zero_shot"].values()])
        assert f"{average:.2f}" in section(text, "What they recognise")
    average = np.mean([np.mean([*one["seeds"].values()]) for one in numbers["probe"].values()])
    assert f"{average:.2f}" in section(text, "With 16 pictures of each class")
    told = section(text, "Names that no caption held")
    for one in numbers["unheard"]["names"]:
        assert any(one["name"] in cells(line) for line in told.splitlines())
    chance = next(cells(line) for line in told.splitlines() if line.startswith("| chance"))
    assert chance[1:5] == ["193.5", "0.3 %", "1.3 %", "5.2 %"]


def test_without_full_size_photographs_the_page_says_so(
    numbers: Mapping[str, Any],
) -> None:
    text = card.page({**numbers, "full_size": None}, "commit abc123")
    assert "This was not measured" in section(text, "On full-size photographs")


def test_the_page_says_what_the_models_do_not_know(numbers: Mapping[str, Any]) -> None:
    text = " ".join(card.page(numbers, "commit abc123").split())
    for told in (
        "student: {architecture: fdbpl-small-student, weights: small}",
        "who people are",
        "how many there are of a thing",
        "64 pixels on the short side",
        "training part of ImageNet",
        "guesses by word vectors",
        "(#names-that-no-caption-held)",
        "Apache-2.0",
        "PDDL",
        "only the two are to be compared",
    ):
        assert told.lower() in text.lower()
    assert all(model in text for model in small.MODELS)


def test_the_card_is_written_with_its_data_and_a_small_picture(
    numbers: Mapping[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(card, "measured", lambda *given: numbers)
    paths = card.write_card(tmp_path, None, tmp_path, tmp_path / "docs", print)
    assert [path.name for path in paths] == ["small.md", "small.json", "accuracy.png"]
    assert json.loads(paths[1].read_text()) == numbers
    text = paths[0].read_text()
    assert "(small/accuracy.png)" in text
    assert str(tmp_path) not in text
    picture = paths[2].read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) < 150_000


def test_what_is_measured_of_made_up_datasets(
    clip: ClipModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for dataset in DATASETS:
        likes = UNHEARD.get(dataset, {}).values()
        classes = [like.replace(" ", "_") for like in {"some other", "thing", *likes}]
        pack_dataset(tmp_path, dataset, classes, train=1, test=1)

    def hidden(folder: Path, part: str, model: str, out: Path, say: Any) -> dict[str, Any]:
        rng = np.random.default_rng([len(part), len(model)])
        sizes = {name: len([*read_part(folder, name, part)]) for name in DATASETS}
        return {name: unit(rng, n, len(last_projection(clip))) for name, n in sizes.items()}

    monkeypatch.setattr(measured.api, "load", lambda model, weights: clip)
    monkeypatch.setattr(measured, "features", hidden)
    found = measured.measured(tmp_path, None, tmp_path, print)
    assert found["full_size"] is None
    assert found["zero_shot"]["dtd"]["chance"] == 50
    assert found["zero_shot"]["rsscn7"]["classes"] == 2 + 5
    assert found["probe"]["rsscn7"]["base_classes"] == 4
    assert {*found["probe"]["cifar10"]["seeds"]} == {"1", "2", "3"}
    own = found["unheard"]["summaries"]["teacher"]["own"]
    named = [row["teacher"]["rank"] for row in found["unheard"]["names"]]
    assert own["median"] == np.median(named)
    assert max(named) <= found["unheard"]["classes"]
    assert own["p"] > 1e-3  # random features
    assert card.page(found, "commit abc123")


def test_full_size_is_measured_once_and_held_against_the_same_pictures(
    clip: ClipModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = [Picture(f"{n}.jpg", n % 2, jpeg(drawn(n, (160, 120)))) for n in range(4)]
    shown = FullSize("dtd", NAMES[:2], np.array([0, 1, 0, 1]), lambda: iter(pictures))

    def encoder(model: str) -> ImageEncoder:
        return ImageEncoder(clip, precision="fp32", batch_size=32, before_projection=True)

    monkeypatch.setattr(accuracies, "encoder", encoder)
    told: list[str] = []
    found = right(clip, "fdbpl-small-student", shown, tmp_path, told.append)
    assert len(told) == 2
    again = right(clip, "fdbpl-small-student", shown, tmp_path, told.append)
    assert len(told) == 2
    texts = api.template_vectors(clip, NAMES[:2], DATASETS["dtd"].template)
    for version, make in {"full_size": lambda one: one, "small": made_small}.items():
        files = []
        for one in pictures:
            files.append(tmp_path / f"{version}{one.path}")
            files[-1].write_bytes(make(one).data)
        wanted = (api.image_features(clip, files) @ texts.T).argmax(axis=1) == shown.labels
        assert found[version].tolist() == again[version].tolist() == wanted.tolist()

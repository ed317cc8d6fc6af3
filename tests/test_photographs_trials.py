"""The trials of the bridge, on random features of two small datasets."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import unit

from fdbpl.clip.model import ClipModel
from fdbpl.clip.projection import last_projection
from fdbpl.methods.bridged import HiddenBridge
from fdbpl.methods.params import TrainParams
from studies.photographs import trials
from studies.photographs.trials import CHOSEN, TEMPLATE, Bench, Photos, Trial, bridged, shots

SETS = {"pets": ("a cat", "a dog", "an elk"), "ships": ("raft", "boat", "tug", "ark")}
TEACHER = 12


@pytest.fixture
def pair(clip: ClipModel, monkeypatch: pytest.MonkeyPatch) -> Any:
    about = {name: SimpleNamespace(template="a photo of a {}.") for name in SETS}
    for name, value in (("DATASETS", about), ("DEVELOPMENT", ("pets",)), ("EVIDENCE", ("ships",))):
        monkeypatch.setattr(trials, name, value)
    monkeypatch.setattr(trials, "SCHEDULE", TrainParams(lr=0.01, epochs=2, batch=4))
    rng, width = np.random.default_rng(0), len(last_projection(clip))

    def photos(classes: int) -> Photos:
        labels = np.repeat(np.arange(classes), 6)
        parts = (unit(rng, len(labels), one) for one in (width, 32, TEACHER))
        return Photos(labels, *parts)

    return SimpleNamespace(
        student=clip,
        teacher=SimpleNamespace(logit_scale=20.0),
        names=SETS,
        seen={
            part: {name: photos(len(names)) for name, names in SETS.items()}
            for part in ("train", "test")
        },
        texts={
            (name, of): unit(rng, len(names), dim)
            for name, names in SETS.items()
            for of, dim in (("student", 32), ("teacher", TEACHER))
        },
    )


def test_shots_are_a_seeds_own_and_of_the_classes_asked_for() -> None:
    labels = np.repeat(np.arange(4), 20)
    found = shots(labels, np.array([1, 3]), 11)
    assert (np.bincount(labels[found], minlength=4) == [0, 16, 0, 16]).all()
    assert (np.diff(found) > 0).all()
    assert not np.array_equal(found, shots(labels, np.array([1, 3]), 12))


def test_the_mean_region_says_nothing_unless_it_is_left_where_it_was(pair: Any) -> None:
    bench = Bench(pair, "pets", 11)
    arrays = bench.learned(CHOSEN, CHOSEN.method).arrays
    centred, not_centred = (
        bench.decision(replace(CHOSEN, uncentred=means)).parts["bridge"]
        for means in ((), trials.MEANS)
    )
    assert not np.allclose(centred.rows[:, -1], 0, atol=1e-4)
    assert np.allclose(not_centred.rows[:, -1], 0)
    at_mean = centred.rows[:, :-1] @ arrays["hidden_mean"]
    assert np.allclose(centred.rows[:, :-1], not_centred.rows[:, :-1])
    assert not np.allclose(at_mean, 0)


@pytest.mark.parametrize(
    "trial",
    [
        CHOSEN,
        Trial("template", TEMPLATE),
        Trial("own", bridged(HiddenBridge())),
        Trial("after", bridged(), hidden=False),
        Trial("others", trials.of_others(10.0), 9),
        Trial("learned", bridged(inner=trials.OURS)),
        Trial("afterwards", bridged(inner=trials.KDPL), afterwards=True),
    ],
    ids=lambda one: one.title,
)
def test_every_kind_of_trial_is_measured(pair: Any, trial: Trial) -> None:
    found = Bench(pair, "pets", 12).measured(trial)
    assert tuple(found) == trials.MEASURES
    assert all(0 <= one <= 100 for one in found.values())


def test_as_many_pictures_of_others_as_were_asked_for(pair: Any) -> None:
    bench = Bench(pair, "pets", 11)
    for count in (3, 9, 10_000):
        regions, images = bench.others(Trial("others", trials.of_others(1.0), count)).open()
        assert len(images) == min(count, len(pair.seen["train"]["ships"].labels))
        assert sum(len(one[0]) for one in regions.weighted(images)) == len(images)


def test_the_page_tells_each_trial_beside_the_chosen(
    pair: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = {"Some": (Trial("the template alone", TEMPLATE),)}
    monkeypatch.setattr(trials, "TRIALS", listed)
    said: list[str] = []
    text = trials.page(pair, "somewhere", said.append)
    assert said[0].startswith("tried: the template alone, joint H ")
    assert "at somewhere." in text
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert [row.split(" | ")[0].strip("| ") for row in rows] == [
        *("decision", "-" * len(CHOSEN.title), CHOSEN.title, "the template alone"),
    ]

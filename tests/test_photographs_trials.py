"""The trials of the bridge, on random features of two small datasets."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fdbpl.methods.bridged import HiddenBridge
from studies.photographs import development, rejecting, trials, ways
from studies.photographs.development import MEASURES, Case, cases, shots
from studies.photographs.trials import CHOSEN, TEMPLATE, Trial, bridged


def test_shots_are_a_seeds_own_and_of_the_classes_asked_for() -> None:
    labels = np.repeat(np.arange(4), 20)
    found = shots(labels, np.array([1, 3]), 11)
    assert (np.bincount(labels[found], minlength=4) == [0, 16, 0, 16]).all()
    assert (np.diff(found) > 0).all()
    assert not np.array_equal(found, shots(labels, np.array([1, 3]), 12))


def test_the_mean_region_says_nothing_unless_it_is_left_where_it_was(photo_case: Case) -> None:
    arrays = CHOSEN.learned(photo_case, CHOSEN.method).arrays
    centred, not_centred = (
        replace(CHOSEN, uncentred=means).decision(photo_case).parts["bridge"]
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
def test_every_kind_of_trial_is_measured(photo_case: Case, trial: Trial) -> None:
    found = photo_case.measured(trial.logits(photo_case))
    assert tuple(found) == MEASURES
    assert all(0 <= one <= 100 for one in found.values())


def test_what_all_logits_say_rightly_is_measured_as_right(photo_case: Case) -> None:
    right = np.eye(3)[photo_case.test.labels]
    assert set(photo_case.measured(right).values()) == {100.0}
    only_base = right * np.isin(np.arange(3), photo_case.halves[0]) + 1e-3 * right
    assert photo_case.measured(-right)["joint H"] == 0
    assert photo_case.measured(only_base)["new"] == 100


def test_as_many_pictures_of_others_as_were_asked_for(photo_case: Case) -> None:
    every = len(photo_case.others.labels)
    assert every == sum(
        len(photo_case.pair.seen["train"][one].labels) for one in ("birds", "ships")
    )
    for count in (3, 9, 10_000):
        regions, images = Trial("others", trials.of_others(1.0), count).source(photo_case).open()
        assert len(images) == min(count, every)
        assert sum(len(one[0]) for one in regions.weighted(images)) == len(images)


def test_the_page_tells_each_trial_beside_the_chosen(
    photo_pair: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = {"Some": (Trial("the template alone", TEMPLATE),)}
    monkeypatch.setattr(trials, "TRIALS", listed)
    said: list[str] = []
    text = trials.page(photo_pair, "somewhere", said.append)
    tables, rejecting_part = text.split("## Rejecting")
    assert said[0].startswith("tried: the template alone, joint H ")
    assert "at somewhere." in text
    rows = [line for line in tables.splitlines() if line.startswith("| ")]
    assert [row.split(" | ")[0].strip("| ") for row in rows] == [
        *("decision", "-" * len(CHOSEN.title), CHOSEN.title, "the template alone"),
    ]
    assert rejecting.CHOSEN in rejecting_part


def test_a_note_follows_its_sections_table(
    photo_pair: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = {"Some": (Trial("the template alone", TEMPLATE),)}
    monkeypatch.setattr(trials, "TRIALS", listed)
    monkeypatch.setattr(trials, "NOTES", {"Some": lambda found: f"Of {' and '.join(found)}."})
    text = trials.page(photo_pair, "somewhere", lambda line: None)
    assert f" |\n\nOf {CHOSEN.title} and the template alone.\n\n## " in text


def test_every_note_is_of_what_is_tried_until_then() -> None:
    assert set(trials.NOTES) <= set(trials.TRIALS)
    found = {ways.CHOSEN: {ways.MEASURE: {"pets": 50.0, "birds": 60.0}}}
    for title, listed in trials.TRIALS.items():
        for one in listed:
            found[one.title] = {ways.MEASURE: {"pets": 50.0 + len(found), "birds": 60.0}}
        if title in trials.NOTES:
            assert " %" in trials.NOTES[title](found)


def test_cases_are_every_seed_of_every_development_set(photo_pair: Any) -> None:
    found = cases(photo_pair)
    assert list(found) == ["pets", "birds"]
    assert [one.seed for one in found["birds"]] == list(development.SEEDS)

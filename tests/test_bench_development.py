"""What `bench.development` joins: drawings of several worlds, paired with their own reference."""

import numpy as np
import pytest

from bench.development import METHOD, joined, section
from fdbpl.ablation.grid import REFERENCE
from fdbpl.ablation.trials import Trial, Trials
from fdbpl.evaluation.accuracy import harmonic_mean

DATASETS = ["birds", "boats"]
SETTING = "fdbpl.bridge_share=0"


def trials(seed: int, gap: float) -> Trials:
    rng = np.random.default_rng(seed)
    found = {}
    for dataset in DATASETS:
        base = rng.uniform(50, 70, 3)
        for setting, less in ((REFERENCE, 0.0), (SETTING, gap)):
            runs = {str(run): {"base": base[run], "new": base[run] - less} for run in range(3)}
            found[setting, dataset, METHOD] = Trial("key", runs)
    return found


def test_drawings_of_a_kind_are_averaged_before_the_interval() -> None:
    worlds = {"first": trials(0, 1.0), "second": trials(1, 3.0)}
    reference, changed = joined(worlds, DATASETS)
    assert (reference["setting"], changed["setting"]) == (REFERENCE, SETTING)
    assert reference["new_gap"] == reference["h_gap"] == ""
    assert changed["new"] == pytest.approx(reference["new"] - 2)
    assert changed["base"] == pytest.approx(reference["base"])
    assert changed["h"] == pytest.approx(harmonic_mean(changed["base"], changed["new"]))
    assert changed["new_gap"] == "-2.00 (-2.00 to -2.00)"  # of either kind, one of 1 and one of 3
    assert float(changed["h_gap"].split(" ")[0]) == pytest.approx(
        changed["h"] - reference["h"], abs=0.01
    )


def test_the_table_says_where_it_comes_from() -> None:
    rows = joined({"first": trials(0, 1.0)}, DATASETS)
    found = {"command": "python -m bench.development", "commit": "abc", "machine": ["this"]}
    lines = section({**found, "rows": rows}).splitlines()
    assert lines[0].startswith("`python -m bench.development`, commit abc, on this. Differences")
    assert lines[2].startswith("| setting | base | new | H |")
    assert len(lines) == 6

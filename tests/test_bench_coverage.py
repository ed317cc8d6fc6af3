"""What `bench.coverage` simulates, by few draws."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from bench.coverage import GAIN, GAIN_SPREAD, LEVEL, NOISE, SEEDS, SHAPES, coverage, draw, main


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_drawn_has_the_averages_and_deviations_said(shape: str) -> None:
    runs = draw(np.random.default_rng(0), 20_000, shape)
    assert runs.shape == (2, 2, 20_000, SEEDS)
    assert runs[0].mean(axis=(1, 2)) == pytest.approx(LEVEL, abs=0.5)
    gains = (runs[1] - runs[0]).mean(axis=2)
    assert gains.mean(axis=1) == pytest.approx(GAIN, abs=0.2)
    spread = np.sqrt(np.square(GAIN_SPREAD) + 2 * NOISE**2 / SEEDS)
    assert gains.std(axis=1) == pytest.approx(spread, rel=0.05)


def test_t_intervals_hold_what_they_say_and_the_bootstrap_does_not() -> None:
    found = coverage(5, "normal", draws=1500, resamples=200, seed=1)
    assert found["t"] == pytest.approx(95, abs=2)
    assert found["delta"] == pytest.approx(95, abs=2)
    assert 75 < found["bootstrap"] < 91


def test_the_table_says_how_it_was_made(tmp_path: Path) -> None:
    words = ["--draws", "10", "--resamples", "10", "--seed", "3", "--out", str(tmp_path / "c.md")]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    lines = (tmp_path / "c.md").read_text().splitlines()
    assert len([line for line in lines if line.startswith("| ")]) == 2 + 8
    assert "`python -m bench.coverage --draws 10 --resamples 10 --seed 3`" in lines[-1]

"""The harness of faults can fail: its judge, its damage, its stores, and a round of all."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from faults.child import Ran
from faults.damage import DAMAGES, put
from faults.flushes import inodes, lose, watched
from faults.log import Log
from faults.outcome import Mark, Step, judge, remedies
from faults.project import datasets_of
from faults.table import COLUMNS, table, write_table
from faults.trial import Trial
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).parents[1]
SOUND = {"a.json": "1", "b.json": "2", "out": "3"}
BEFORE = {"a.json": "1", "b.json": "2"}
NAMED = "error: a.json: damaged, wanted a plan. Run fdbpl prepare-crops here again.\n"
TRACE = "Traceback (most recent call last):\n  ...\nKeyError: 'a'\n"


def step(code: int, after: dict[str, str], err: str = "", out: str = "") -> Step:
    return Step(Ran(code, out, err), BEFORE, after)


WELL = step(0, SOUND)
REFUSED = step(2, BEFORE, NAMED)


def marks(first: Step, last: Step | None = None, **more: object) -> set[Mark]:
    options = {"wanted": SOUND, "makes": ["out"], "names": ["a.json"], **more}
    return set(judge(first, last or first, **options))  # type: ignore[arg-type]


def test_what_goes_well_is_right_and_nothing_else() -> None:
    assert marks(WELL) == {Mark.RIGHT}
    assert marks(REFUSED, WELL) == {Mark.NAMED, Mark.RIGHT}
    missing = step(2, {"a.json": "1"}, "error: b.json: no such file. Run fdbpl evaluate here first")
    assert marks(missing, WELL, names=(), interrupted=True) == {Mark.NAMED, Mark.RIGHT}


@pytest.mark.parametrize("path", SOUND)
def test_any_other_byte_is_wrong(path: str) -> None:
    other = step(0, {**SOUND, path: "other"})
    assert Mark.WRONG in marks(other)
    assert Mark.WRONG in marks(REFUSED, other)
    without = step(0, {key: value for key, value in SOUND.items() if key != path})
    assert Mark.WRONG in marks(without)
    for bad in (marks(other), marks(REFUSED, other), marks(without)):
        assert Mark.RIGHT not in bad


def test_what_a_fault_changed_may_stay_but_not_where_the_command_writes_it() -> None:
    assert marks(step(0, {**SOUND, "b.json": "x"}), touched=["b.json"]) == {Mark.RIGHT}
    assert Mark.WRONG in marks(step(0, {**SOUND, "out": "x"}), touched=["out"])


def test_what_a_command_says_counts_where_it_is_its_result() -> None:
    assert marks(step(0, SOUND, out="cat"), wanted_out="cat") == {Mark.RIGHT}
    assert Mark.WRONG in marks(step(0, SOUND, out="dog"), wanted_out="cat")


def test_an_error_must_name_the_file_and_the_next_step_in_one_line() -> None:
    for said in (
        "",
        "error: something is damaged. Run fdbpl prepare-crops here again.\n",  # which file?
        "error: a.json: damaged.\n",  # and now?
        "a.json: damaged. Run fdbpl prepare-crops here again.\n",  # no error
        "error: a.json: damaged.\nRun fdbpl prepare-crops here again.\n",
    ):
        found = marks(step(2, BEFORE, said), WELL)
        assert found == {Mark.UNCLEAR, Mark.RIGHT}, said


def test_a_traceback_is_one_whenever_it_comes() -> None:
    assert Mark.TRACEBACK in marks(step(1, BEFORE, TRACE), WELL)
    assert Mark.TRACEBACK in marks(REFUSED, step(1, BEFORE, TRACE))
    assert Mark.TRACEBACK in marks(step(-11, BEFORE), WELL)
    assert Mark.TRACEBACK in marks(step(1, BEFORE, TRACE), WELL, interrupted=True)


def test_what_nothing_mends_is_lost_and_so_is_what_a_failing_command_took() -> None:
    assert Mark.LOST in marks(REFUSED)
    took = step(2, {"a.json": "1"}, NAMED)
    assert Mark.LOST in marks(took, WELL)
    assert Mark.LOST not in marks(took, WELL, touched=["b.json"])
    assert Mark.LOST not in marks(took, WELL, interrupted=True)
    assert Mark.LOST in marks(REFUSED, step(0, {"a.json": "1", "out": "3"}), interrupted=True)


def test_a_result_written_wrong_is_no_lost_one() -> None:
    before = {**SOUND, "out": "2"}
    wrong = Step(Ran(0, "", ""), before, {**SOUND, "out": "x"})
    assert marks(wrong) == {Mark.WRONG}
    assert Mark.LOST in marks(Step(Ran(2, "", NAMED), before, {**SOUND, "out": "x"}), WELL)


def test_a_command_may_go_on_without_what_is_damaged_only_where_it_says_so() -> None:
    less, said = dict(BEFORE), "a.json: not recorded. Run fdbpl evaluate here again."
    assert Mark.WRONG in marks(step(0, less, out=said), WELL)
    assert marks(step(0, less, out=said), WELL, goes_on=True) == {Mark.NAMED, Mark.RIGHT}
    assert Mark.WRONG in marks(step(0, less, out="10 runs"), WELL, goes_on=True)


def test_next_steps_are_found_in_errors() -> None:
    def steps(err: str) -> list[str]:
        return [" ".join(words) for words in remedies(Ran(2, "", err), "here")]

    assert steps(NAMED) == ["fdbpl prepare-crops here"]
    assert steps("Run dvc repro evaluate@there first, or take it off") == [
        "dvc repro evaluate@there"
    ]
    assert steps("wanted a finished one: run cache-teacher for this dataset") == [
        "fdbpl cache-teacher here"
    ]
    assert steps("free space or mend the rights there, then run again") == []


@given(st.binary(min_size=2), st.integers(0, 2**32), st.sampled_from(list(DAMAGES)))
def test_every_damage_changes_bytes_or_says_that_it_could_not(tmp_path_factory, data, seed, damage):
    place = tmp_path_factory.mktemp("damage")
    contents = {"a.bin": data, "b.bin": data[::-1] + b"x"}
    for name, content in contents.items():
        (place / name).write_bytes(content)
        os.utime(place / name, ns=(1, 2))
    touched = put(place, sorted(contents), damage, np.random.default_rng(seed))
    for name, content in contents.items():
        path = place / name
        found = path.read_bytes() if path.exists() else None
        assert (found != content) == (name in (touched or ()))
        assert found is None or path.stat().st_mtime_ns == 2


def test_a_power_cut_takes_what_was_not_flushed_and_nothing_else(tmp_path) -> None:
    place, log = tmp_path / "project", tmp_path / "log"
    place.mkdir()
    (place / "old").write_text("old")
    before = inodes(place)
    child = os.fork()
    if child == 0:
        watched(log)()
        for name in ("flushed", *map(str, range(20))):
            aside = place / f".{name}"
            with aside.open("w") as file:
                file.write(name)
                file.flush()
                if name == "flushed":
                    os.fsync(file.fileno())
            aside.replace(place / name)
        os._exit(0)
    os.waitpid(child, 0)
    lost = lose(place, before, log, np.random.default_rng(0))
    assert 0 < len(lost) < 20
    assert not {"old", "flushed"} & set(lost)
    assert all(((place / name).read_text() == "") == (name in lost) for name in inodes(place))


def test_the_table_counts_and_finds_its_place(tmp_path) -> None:
    found = [
        Trial("b", "", "", frozenset(one), "", number)
        for number, one in enumerate([{Mark.NAMED, Mark.RIGHT}, {Mark.WRONG}, {Mark.RIGHT}, set()])
    ]
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- faults:begin -->\nold\n<!-- faults:end -->\nafter\n")
    for _ in range(2):
        write_table(page, table(found))
        lines = page.read_text().splitlines()
        cells = [cell.strip() for cell in lines[4].split("|")[1:-1]]
        assert dict(zip(["kind", "tried", *COLUMNS], cells, strict=True)) == {
            "kind": "b", "tried": "3", "named": "1", "right afterwards": "2", "lost": "0",
            "wrong accepted": "1", "traceback": "0", "unclear": "0",
        }  # fmt: skip
        assert (lines[0], lines[-1]) == ("before", "after")


def test_a_log_keeps_the_sound_trials_and_those_tried_again(tmp_path) -> None:
    log = Log(tmp_path / "log")
    assert log.sound() == []
    bad, good, last = (
        Trial("b", "f", "c", frozenset({mark}), "said", number)
        for mark, number in ((Mark.LOST, 1), (Mark.RIGHT, 2), (Mark.RIGHT, 1))
    )
    log.add(bad)
    log.add(good)
    assert log.sound() == [good]
    log.add(last)
    with (tmp_path / "log").open("a") as file:
        file.write('{"kind": "b", ')  # cut by an interrupt
    assert sorted(log.sound(), key=lambda one: one.number) == [last, good]
    log.end()
    assert log.sound() == []


def test_datasets_are_those_whose_files_they_are() -> None:
    assert datasets_of(["runs/default/plans/there/images.npy"]) == ["there"]
    assert datasets_of(["runs/r/metrics/datasets/here.json", "a/there/b"]) == ["here", "there"]
    assert datasets_of(["params.yaml"]) == ["here"]


ROUND = """
import sys
from tests.faults.__main__ import main
def tried(*words):
    try:
        main(["--folder", sys.argv[1], "--lanes", "1", *words])
    except SystemExit as end:
        print("END", int(end.code))
tried("--no-servers", "--trials", "1000", "--seconds", sys.argv[2])
from fdbpl.stages import compare
right = compare.write_summary
compare.write_summary = lambda place, record, text, *rest: right(place, record, text + " ", *rest)
tried("--kind", "metrics", "--trials", "4")
"""
"""All kinds for so many seconds; then metrics, by a stage that writes another result."""


@pytest.mark.slow
def test_a_round_of_all_kinds_finds_nothing_and_another_result_is_found(tmp_path):
    words = [sys.executable, "-c", ROUND, str(tmp_path / "lanes"), "15"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    sound, _, blind = done.stdout.partition("END")
    assert blind.count("END 1") == 1, done.stdout + done.stderr
    assert counts(blind)["metrics"]["wrong accepted"]
    assert blind.startswith(" 0"), done.stdout + done.stderr
    assert counts(sound)["all"]["tried"] >= 5
    assert counts(sound)["all"]["named"]


def counts(said: str) -> dict[str, dict[str, int]]:
    """Return the counts of a table in what was said, by kind."""
    rows = re.findall(r"^\| (.+?) \| ([\d, |]+) \|$", said, re.MULTILINE)
    names = ("tried", *COLUMNS)
    numbers = {kind: [int(n.replace(",", "")) for n in row.split(" | ")] for kind, row in rows}
    return {kind: dict(zip(names, found, strict=True)) for kind, found in numbers.items()}

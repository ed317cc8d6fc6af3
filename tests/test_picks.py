"""Few-shot picks as a table: what is written comes back, and what does not fit is refused."""

import csv
import io
import pickle
import shutil
import textwrap
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from click.testing import CliRunner
from conftest import draw_folder
from hypothesis import given
from hypothesis import strategies as st
from layouts import draw_layout, shuffled_listing

from fdbpl.cli import main
from fdbpl.data.dataset import Dataset, Item
from fdbpl.data.params import DataParams
from fdbpl.data.picks import COLUMNS, picks_table, read_picks
from fdbpl.data.registry import given_picks, open_dataset
from fdbpl.data.splits import base_and_new, draw_order
from fdbpl.protocols.all_classes import ALL_CLASSES
from fdbpl.regions.params import RegionParams
from fdbpl.regions.plan import Plan
from fdbpl.regions.planning import TABLE, choose_shots, make_plan
from fdbpl.system.errors import UserError

MODEL = {"architecture": "ViT-B-32", "weights": "openai"}
RAW = {"methods": ["coop"], "student": MODEL, "teacher": MODEL}


def opened(name: str, root: Path) -> Dataset:
    return open_dataset(name, DataParams(root=str(root)))


def planned(dataset: Dataset, **changes) -> Plan:
    usual = {"regions": RegionParams(per_image=2), "shots": 2, "seeds": [1, 2]}
    return make_plan(dataset, **{**usual, **changes})


def learned_from(plan: Plan) -> dict[int, set[str]]:
    return {seed: {plan.paths[row] for row in rows} for seed, rows in plan.shots.items()}


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    draw_folder(tmp_path / "photos", {"bee, wild": (5, 2), "ant": (5, 2), "cat_fish": (5, 1)})
    own = {"mine": {"folder": str(tmp_path / "photos")}}
    return open_dataset("mine", DataParams.model_validate({"own": own}))


names = st.sampled_from(["a", "b, c", 'd "e"', "é"])


@given(
    st.dictionaries(st.integers(0, 9), st.sets(st.integers(0, 11), min_size=1), min_size=1),
    st.lists(names, min_size=3, max_size=3, unique=True),
)
def test_any_picks_come_back_as_they_were(tmp_path_factory, chosen, class_names) -> None:
    items = tuple(Item(f"{class_names[row % 3]}/{row}.png", row % 3) for row in range(12))
    test = (Item("t.png", 1),)
    found = Dataset("x", Path("/x"), tuple(class_names), "{}", items, (), test)
    picks = {seed: frozenset(items[row] for row in rows) for seed, rows in chosen.items()}
    table = tmp_path_factory.mktemp("picks") / "picks.csv"
    table.write_bytes(picks_table(found, picks))
    assert read_picks(table, found) == picks


def test_the_table_by_hand(dataset: Dataset) -> None:
    rows = list(csv.reader(io.StringIO(picks_table(dataset, {7: dataset.train[:1]}).decode())))
    assert rows == [
        ["image", "class", "split", "shot seed"],
        ["train/ant/00.png", "ant", "train", "7"],
        ["test/ant/00.png", "ant", "test", ""],
        ["test/ant/01.png", "ant", "test", ""],
        ["test/bee, wild/00.png", "bee, wild", "test", ""],
        ["test/bee, wild/01.png", "bee, wild", "test", ""],
        ["test/cat_fish/00.png", "cat fish", "test", ""],
    ]


@pytest.mark.parametrize("name", ["dtd", "fgvc_aircraft", "imagenet"])
def test_neither_listing_nor_place_decides_the_table(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def table(root: Path) -> bytes:
        found = opened(name, root)
        return picks_table(found, choose_shots(found, shots=2, seeds=[1, 2]))

    draw_layout(name, tmp_path / "here")
    here = table(tmp_path / "here")
    shutil.copytree(tmp_path / "here", tmp_path / "deep" / "there")
    with shuffled_listing(monkeypatch, 5):
        assert table(tmp_path / "deep" / "there") == here


def test_a_plan_has_the_shots_of_the_table_and_no_others(dataset: Dataset) -> None:
    plain = planned(dataset)
    picks = {seed: frozenset(draw_order(dataset.train, 40 + seed)[0][:2]) for seed in (1, 2)}
    for seed in picks:
        for label in (1, 2):
            picks[seed] |= set(draw_order(dataset.train, 50 + seed)[label][:2])
    brought = planned(dataset, given=picks)
    assert learned_from(brought) == {
        seed: {item.path for item in items if item.label < 2} for seed, items in picks.items()
    }
    assert learned_from(brought) != learned_from(plain)
    assert brought.notes[TABLE] == ["seeds 1, 2"]
    assert TABLE not in plain.notes
    everything = planned(dataset, given=picks, protocols=[ALL_CLASSES])
    assert learned_from(everything) == {s: {i.path for i in picks[s]} for s in picks}
    assert planned(dataset, given=picks, shots="all").shots == brought.shots


def test_a_picked_image_that_does_not_decode_is_named_and_not_replaced(dataset: Dataset) -> None:
    picks = {1: frozenset(choose_shots(dataset, shots=2, seeds=[1])[1])}
    broken = min(item.path for item in picks[1] if item.label == 0)
    (dataset.folder / broken).write_bytes(b"")
    plan = planned(dataset, given=picks, seeds=[1])
    kept = {item.path for item in picks[1] if item.label < 2} - {broken}
    assert learned_from(plan) == {1: kept}
    assert plan.notes["classes short of images"] == ["ant: 1 of 2 shots"]
    assert plan.notes["unreadable training images"][0].startswith(broken)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"seeds": [1, 3]}, "no seed 3, but 1, 2. Set seeds"),
        ({"shots": 1}, "2 images of 'ant' for seed 1, wanted at most shots, which is 1"),
        ({"protocols": [ALL_CLASSES]}, "no image of 'cat fish' for seed 1"),
    ],
)
def test_picks_that_do_not_fit_the_parameters_are_refused(dataset, changes, says) -> None:
    drawn = choose_shots(dataset, shots=2, seeds=[1, 2])
    picks = {seed: frozenset(i for i in items if i.label < 2) for seed, items in drawn.items()}
    planned(dataset, given=picks)
    with pytest.raises(UserError) as error:
        planned(dataset, given=picks, **changes)
    assert str(error.value).startswith("data.picks.mine: the table has ")
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("../photos/train/ant/00.png,ant,train,1", "leads outside the dataset's folder"),
        ("train/ant/link.png,ant,train,1", "it is in no split"),
        ("test/ant/00.png,ant,train,1", "not among the train images of mine, it is in test"),
        ("train/ant/00.png,ant,test,", "not among the test images of mine, it is in train"),
        ('train/ant/00.png,"bee, wild",train,1', "is of class 'bee, wild', and in mine of 'ant'"),
        ("train/ant/00.png,ant,training,1", "split is 'training', wanted train, val, test"),
        ("train/ant/00.png,ant,train,", "shot seed is '', wanted a whole number"),
        ("train/ant/00.png,ant,train,1.0", "shot seed is '1.0', wanted a whole number"),
        ("test/ant/00.png,ant,test,1", "shot seed is '1' in a row of split test, wanted none"),
        ("train/ant/01.png,ant,train,1", "stands at"),
    ],
)
def test_a_wrong_row_is_named(dataset: Dataset, tmp_path: Path, row: str, says: str) -> None:
    (dataset.folder / "train/ant/link.png").symlink_to("/etc/hostname")
    table = tmp_path / "picks.csv"
    table.write_text(f"{','.join(COLUMNS)}\ntrain/ant/01.png,ant,train,1\n{row}\n")
    with pytest.raises(UserError) as error:
        read_picks(table, dataset)
    assert str(error.value).startswith(f"{table}, line 3: ")
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "found columns ; wanted a table with columns image, class, split, shot seed"),
        ("image,class,split\n", "found columns image, class, split; wanted"),
        (f"{','.join(COLUMNS)}\n", "no row of split train"),
        (f"{','.join(COLUMNS)}\ntest/ant/00.png,ant,test,\n", "no row of split train"),
    ],
)
def test_tables_that_are_none(dataset: Dataset, tmp_path: Path, text: str, says: str) -> None:
    table = tmp_path / "picks.csv"
    with pytest.raises(UserError, match=r"picks\.csv: No such file"):
        read_picks(table, dataset)
    table.write_text(text)
    with pytest.raises(UserError) as error:
        read_picks(table, dataset)
    assert str(error.value).startswith(f"{table}: ")
    assert says in str(error.value)


def run(*words: str) -> str:
    result = CliRunner().invoke(main, ["data", "picks", *words])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_command_writes_what_the_plan_learns_from_and_brings_it_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    draw_layout("dtd", tmp_path / "data")
    raw = {**RAW, "datasets": ["dtd"], "shots": 2}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(raw))
    said = run("dtd", "--out", "picks.csv")
    assert said == ("dtd: 10, 10, 10 images of seeds 1, 2, 3, 10 test images. Written: picks.csv\n")
    found = opened("dtd", tmp_path / "data")
    picks = read_picks(tmp_path / "picks.csv", found)
    plan = planned(found, seeds=[1, 2, 3])
    base, _ = base_and_new(found.train)
    assert learned_from(plan) == {
        seed: {item.path for item in items if item.label in base} for seed, items in picks.items()
    }
    raw["data"] = {"picks": {"dtd": "picks.csv"}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(raw))
    run("dtd", "--out", "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "picks.csv").read_bytes()
    data = DataParams.model_validate({"root": "data", **raw["data"]})
    assert planned(found, seeds=[1, 2, 3], given=given_picks(found, data)).shots == plan.shots
    result = CliRunner().invoke(main, ["prepare-crops", "dtd"])
    assert result.exit_code == 0, result.output
    assert "1 table of picks instead of a draw: seeds 1, 2, 3" in result.stdout


def test_the_documented_way_from_coops_own_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    draw_layout("dtd", tmp_path)
    found = opened("dtd", tmp_path)
    picks = choose_shots(found, shots=2, seeds=[1, 2, 3])
    (tmp_path / "dtd" / "split_fewshot").mkdir()
    for seed, items in picks.items():
        shots = [
            SimpleNamespace(
                impath=str(found.folder / item.path), classname=found.class_names[item.label]
            )
            for item in items
        ]
        file = tmp_path / "dtd" / "split_fewshot" / f"shot_16-seed_{seed}.pkl"
        file.write_bytes(pickle.dumps({"train": shots, "val": []}))
    text = (Path(__file__).parents[1] / "docs" / "datasets.md").read_text(encoding="utf-8")
    lines = text[text.index("    import csv") :].split("\n\nThey hold")[0]
    exec(textwrap.dedent(lines).replace("/data/dtd", str(tmp_path / "dtd")), {})
    assert read_picks(tmp_path / "picks.csv", found) == {
        seed: frozenset(items) for seed, items in picks.items()
    }


def test_the_command_needs_no_parameters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    draw_layout("eurosat", tmp_path / "sets")
    run("eurosat", "--root", "sets", "--shots", "all", "--seeds", "4,5", "--out", "picks.csv")
    picks = read_picks(tmp_path / "picks.csv", opened("eurosat", tmp_path / "sets"))
    assert {seed: len(items) for seed, items in picks.items()} == {4: 20, 5: 20}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        *(
            (f"eurosat --shots {shots}", f"--shots is '{shots}', wanted one whole number from 1 on")
            for shots in ("some", "3.5", "1,2", "0")
        ),
        ("eurosat --seeds 1,x", "--seeds is '1,x', wanted whole numbers"),
        ("imagenetv2", "dataset 'imagenetv2' has no training images, so no shots"),
        ("mine", "dataset 'mine' has training images without a class, so no shots"),
        ("nowhere", "dataset 'nowhere' is unknown"),
    ],
)
def test_mistakes_end_with_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("eurosat", "imagenetv2"):
        draw_layout(name, tmp_path / "data")
    (tmp_path / "names.txt").write_text("ant\nbee\n")
    own = {"mine": {"images": "data/eurosat/2750", "names": "names.txt"}}
    raw = {**RAW, "datasets": ["eurosat"], "data": {"own": own}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(raw))
    result = CliRunner().invoke(main, ["data", "picks", *words.split(), "--out", "picks.csv"])
    assert result.exit_code == 2
    assert says in result.stderr
    assert not (tmp_path / "picks.csv").exists()

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.utils.serialize import parse_yaml
from hypothesis import given
from hypothesis import strategies as st

from fdbpl.data.params import DataParams
from fdbpl.playground import datasets as playground
from fdbpl.settings.params import Params, check_params, read_params
from fdbpl.settings.yaml_text import load_yaml
from fdbpl.system.errors import UserError

PROJECT = Path(__file__).resolve().parents[1] / "params.yaml"
MODEL = {"architecture": "ViT-B-32", "weights": "openai"}
LEAST = {"datasets": ["dtd"], "methods": ["coop"], "student": {**MODEL}, "teacher": {**MODEL}}
MISSING = object()


def with_value(key: str, value: Any) -> dict[str, Any]:
    raw: dict[str, Any] = copy.deepcopy(LEAST)
    *above, last = key.split(".")
    section = raw
    for part in above:
        section = section.setdefault(part, {})
    section[last] = value
    if value is MISSING:
        del section[last]
    return raw


def refused(raw: dict[str, Any]) -> str:
    """The one line that answers what is no parameters."""
    with pytest.raises(UserError) as error:
        check_params(raw, source="params.yaml")
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_projects_own_file_is_sound() -> None:
    params = read_params(PROJECT)
    assert len(params.datasets) - len(params.shifted) == 11
    assert params.shots == 16
    assert params.seeds == [1, 2, 3]
    assert len(params.development) == 5
    assert not {11, 12, 13} & set(params.seeds)  # the seeds that choices are made with
    everything = set(params.datasets)
    assert everything == {*playground.DATASETS, *playground.SHIFTED}


def test_the_least_that_must_be_said() -> None:
    params = check_params(with_value("data.own", {"mine": {"folder": "photos"}}))
    assert params.data.own["mine"].template == "a photo of a {}."
    assert params.seeds == [1, 2, 3]
    assert params.train.lr == 0.002
    assert params.teacher.logit_scale == "own"


WRONG: list[tuple[str, Any, str]] = [
    ("datasets", [], "at least 1 of them"),
    ("datasets", None, "a list"),
    ("datasets", ["dtd", "dtd"], "every entry once; 'dtd' stands more than once"),
    ("methods", ["coop", "copo"], "zero_shot, zero_shot_generic, zero_shot_ensemble, teacher"),
    ("methods", [], "at least 1 of them"),
    ("seeds", [-1], "seeds of 0 to 2**32 - 1"),
    ("seeds", [2**64], "seeds of 0 to 2**32 - 1"),
    ("seeds", [1, 1], "every entry once"),
    *[("shots", value, "a whole number or 'all'") for value in ("some", 1.5, True)],
    ("shots", 0, "at least 1 image a class, or 'all'"),
    ("teacher.mode", "live", "'cached' or 'online'"),
    ("student.features", None, "'cached' or 'online'"),
    ("train.precision", "fp16", "'fp32' or 'bf16'"),
    ("train.memory_mb", 0, "greater than or equal to 1"),
    ("train.lr", True, "a number."),
    ("train.epochs", True, "a whole number."),
    ("data.world", False, "a whole number."),
    ("regions.scale", [0.1, True], "a list of numbers."),
    ("objectives.fdbpl.first_margin", True, "a number."),
    ("cache.store", "", "text that is not empty."),
    ("device", "tpu", "'auto', 'cpu' or 'cuda'"),
    ("regions.seed", -1, "a number greater than or equal to 0"),
    ("regions.per_image", 0, "a number greater than or equal to 1"),
    ("regions.scale", [0.5, 0.2], "0 < smallest <= largest"),
    ("regions.scale", [0.5, 1.2], "at most 1"),
    ("regions.scale", 3, "a list"),
    ("regions.ratio", [0, 1], "0 < smallest <= largest"),
    ("regions.flip", 2, "a number less than or equal to 1"),
    ("student.weights", 3, "text"),
    ("student.activation", "relu", "'gelu' or 'quickgelu'"),
    ("student.precision", "fp8", "'fp32', 'bf16' or 'fp16'"),
    ("teacher.logit_scale", "mine", "'own' or 'student'"),
    ("cache.payload", "logits", "'float32', 'float16' or 'int8'"),
    ("cache.batch", 0, "a number greater than or equal to 1"),
    ("train", None, "keys with values"),
    ("train.lr", 0, "a number greater than 0"),
    ("train.lr", "fast", "a number"),
    ("train.lr", float("nan"), "a finite number"),
    ("train.lr", float("inf"), "a finite number"),
    ("train.momentum", 1, "a number less than 1"),
    ("train.epochs", 1.5, "a whole number"),
    ("data.allow_unreadable_test_images", "perhaps", "true or false"),
    ("data.own", {"../up": {"folder": "x"}}, "names of letters, digits and _ . -"),
    ("data.own.mine.folder", 3, "text"),
    ("data.own.int.folder", 3, "text"),  # a name that pydantic uses for a union's branch
    *[
        ("datasets", [name], f"names of letters, digits and _ . -; not {name!r}")
        for name in ("icons; rm", "$(x)", "`x`", "x\ny", "icons\n", "..", "../up", "-x", "a b", "")
    ],
    ("development", ["dtd", "dtd"], "every entry once"),
    (
        "protocols",
        ["halves"],
        "among base-to-new, all-classes, transductive, transfer; not 'halves'",
    ),
    ("protocols", [], "at least 1 of them"),
    *[("shots", few, "at least 1 image a class") for few in ([], [0, 4])],
    *[("shots", several, "ascending numbers") for several in ([1, 4, 2], ["all", 4])],
    ("objectives.paper", None, "keys with values"),
    ("objectives.paper.weight", "loud", "'entropy', 'area' or 'none'"),
    ("objectives.paper.first_margin", float("nan"), "a finite number"),
    ("objectives.released.mutual_weight", -1, "a number greater than or equal to 0"),
]


@pytest.mark.parametrize(("key", "value", "says"), WRONG)
def test_a_wrong_value_is_answered_with_key_value_and_what_is_allowed(key, value, says) -> None:
    said = refused(with_value(key, value))
    assert said.startswith(f"params.yaml: '{key}' is {value!r}, wanted ")
    assert says in said


FORMS = "wanted one of three: folder; table; images and names"
BELOW: list[tuple[str, Any, str, str]] = [
    ("datasets", [7], "'datasets.0' is 7", "text"),
    *[
        ("data.own", {"mine": own}, "'data.own.mine' is ", FORMS)
        for own in (
            *({}, {"template": "{}"}, {"names": "n.txt"}),
            *({"folder": "x", "table": "t.csv"}, {"folder": "x", "images": "y", "names": "n.txt"}),
            *({"folder": "x", "test": "z"}, {"folder": "x", "names": "n.txt"}),
        )
    ],
    *[
        ("data.own", {"mine": {"folder": "x", "template": template}}, "mine.template' is", "one {}")
        for template in ("no gap", "{} and {}", "{x} {}", "{} }", "{0}")
    ],
]


@pytest.mark.parametrize(("key", "value", "found", "says"), BELOW)
def test_what_is_wrong_below_a_value_is_named_by_its_own_key(key, value, found, says) -> None:
    said = refused(with_value(key, value))
    assert found in said
    assert says in said


def test_the_datasets_say_the_source_and_the_protocols() -> None:
    params = check_params(with_value("datasets", ["dtd", "mine"]))
    assert (params.source, params.protocols, params.shifted) == ("dtd", ["base-to-new"], [])
    own = {**with_value("datasets", ["mine"]), "data": {"own": {"mine": {"folder": "x"}}}}
    assert check_params(own).protocols == ["all-classes"]
    assert check_params({**own, "protocols": ["base-to-new"]}).protocols == ["base-to-new"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"source": "mine"}, "source names 'mine', wanted one of datasets: dtd, eurosat"),
        ({"shifted": ["mine"]}, "shifted names 'mine', wanted one of datasets"),
        ({"shifted": ["dtd"]}, "shifted names 'dtd', wanted others than the source"),
        ({"protocols": ["transfer"], "datasets": ["dtd"]}, "datasets no other than dtd"),
    ],
)
def test_source_and_shifted_are_among_the_datasets(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        check_params({**with_value("datasets", ["dtd", "eurosat"]), **changes})


OF_MODELS = "architecture, weights, activation, precision, logit_scale"
OF_OWN = "folder, table, images, names, test, template"


@pytest.mark.parametrize(
    ("key", "allowed"),
    [
        ("optimiser", "datasets, protocols, source, shifted, method_files, methods, seeds, shots"),
        ("train.rate", "lr, warmup_lr, momentum"),
        ("teacher.temperature", OF_MODELS),
        *[(f"data.own.{name}.path", OF_OWN) for name in ("mine", "folder", "own")],
        ("objectives.fdbpl.margin", "weight, weight_floor, normalise"),
    ],
)
def test_an_unknown_key_is_answered_with_the_keys_allowed_there(key: str, allowed: str) -> None:
    wanted = f"params.yaml: unknown key '{key}'. Allowed here: {allowed}"
    assert refused(with_value(key, 1)).startswith(wanted)


@pytest.mark.parametrize("key", ["datasets", "methods", "student", "teacher", "student.weights"])
def test_a_missing_key_is_named(key: str) -> None:
    assert f"'{key}' is missing, and has no default" in refused(with_value(key, MISSING))


def test_options_only_of_methods_that_have_some() -> None:
    said = refused(with_value("objectives.coop.first_margin", 0.05))
    assert "method 'coop' has no options, found {'first_margin': 0.05}" in said
    assert "method is 'copo', wanted one of zero_shot" in refused(with_value("objectives.copo", {}))
    params = check_params(with_value("objectives.fdbpl.first_margin", 0.05))
    assert params.objectives == {"fdbpl": {"first_margin": 0.05}}


numbers = st.lists(st.integers(1), min_size=1, unique=True).map(sorted)


@given(shots=st.integers(1) | st.just("all") | numbers | numbers.map(lambda some: [*some, "all"]))
def test_shots_are_a_number_or_all_or_several(shots) -> None:
    params = check_params(with_value("shots", shots))
    assert params.shots == shots
    assert params.counts == (shots if isinstance(shots, list) else [shots])


def test_parameters_do_not_change_after_reading() -> None:
    params = check_params(copy.deepcopy(LEAST))
    with pytest.raises(ValueError, match="frozen"):
        params.shots = 1  # type: ignore[misc]


def test_reading_gives_back_what_was_written(tmp_path: Path) -> None:
    params = check_params(copy.deepcopy(LEAST))
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(params.model_dump(mode="json")))
    assert read_params(path) == params


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "found NoneType, wanted keys with values"),
        (b"- a\n", "found list, wanted keys with values"),
        (b"a: [1\n", "not readable as YAML"),
        (b"a: \xff\n", "not readable as YAML"),
        (b"1: 2\n", "params.yaml"),
        (
            b"train:\n  lr: 1\n  lr: 2\n",
            'params.yaml, line 3: found duplicate key "lr"',
        ),
    ],
)
def test_files_that_are_no_parameters(tmp_path: Path, data: bytes, says: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(data)
    with pytest.raises(UserError) as error:
        read_params(path)
    assert str(path) in str(error.value)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-3", 0.001), ("010", 10), ("no", "no"), ("1:30", "1:30"), ("~", None), ("True", True)],
)
def test_yaml_means_to_fdbpl_what_it_means_to_dvc(text: str, value: object) -> None:
    assert load_yaml(f"a: {text}") == parse_yaml(f"a: {text}", "params.yaml") == {"a": value}


def test_equal_keys_of_other_mappings_and_of_merges_are_no_repeats() -> None:
    text = "b: &b {lr: 1, x: 0}\na: &a\n  <<: *b\n  lr: 2\nc: {d: {<<: *a, lr: 3}}\n1: a\n'1': b\n"
    assert load_yaml(text) == yaml.safe_load(text)


def test_no_file_and_no_rights(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"params\.yaml: no such file"):
        read_params(tmp_path / "params.yaml")
    with pytest.raises(UserError, match="cannot be read"):
        read_params(tmp_path)


def test_params_need_no_torch() -> None:

    light = "fdbpl.regions.planning, fdbpl.classify.artifact, fdbpl.reporting.tables, fdbpl.cli"
    code = f"import sys, {light}; sys.exit('torch' in sys.modules or 'open_clip' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_section_forbids_unknown_keys() -> None:
    for field in Params.model_fields.values():
        kind = field.annotation
        if isinstance(kind, type) and hasattr(kind, "model_config"):
            assert kind.model_config["extra"] == "forbid"


def test_paths_may_begin_in_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    own = {"a": {"images": "~/a", "names": "~/n.txt", "test": "~/t"}, "b": {"table": "~/t.csv"}}
    raw = {
        "datasets": ["a", "b"],
        "methods": ["coop"],
        "method_files": {"Mine": "~/mine.py"},
        "data": {"root": "~/data", "own": own, "picks": {"b": "~/p.csv"}, "vocabulary": "~/v.txt"},
        "imported": {"all-classes": {"a": "~/checkpoint"}},
        "student": {"architecture": "ViT-B-32", "weights": "~/w.safetensors"},
        "teacher": {"architecture": "ViT-B-32", "weights": "openai"},
    }
    params = check_params(raw)
    assert "~" not in str(params.model_dump())
    assert params.data.own["a"].images == "/home/me/a"
    assert params.method_files == {"Mine": "/home/me/mine.py"}
    assert (params.student.weights, params.teacher.weights) == ("/home/me/w.safetensors", "openai")
    written = params.model_dump(mode="json")  # whoever has the same below another home reads it
    monkeypatch.setenv("HOME", "/home/you")
    assert written == check_params(raw).model_dump(mode="json")
    assert check_params(written).data.own["a"].images == "/home/you/a"


@pytest.mark.parametrize("path", ["data", "/home/melon/x", "x~y", "~/a", "~", "/home/me/~"])
def test_a_path_is_written_so_that_it_reads_as_it_was(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for home in ("/home/me", "/home/me/", "/"):
        monkeypatch.setenv("HOME", home)
        read = DataParams(root=path)
        assert DataParams(**read.model_dump(mode="json")) == read

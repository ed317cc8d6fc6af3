import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors
from conftest import unit
from harms import harms
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save, save_file

from fdbpl.classify.artifact import Artifact, decision_of
from fdbpl.classify.decision import Decision
from fdbpl.system.errors import UserError
from fdbpl.system.files import canonical_json
from fdbpl.system.sealed import PLACE, sealed

CODE = """
import sys
from pathlib import Path
import numpy as np
from fdbpl.classify.artifact import Artifact
about = {"kind": "prompts", "train": {"lr": 0.002}, "class_names": ["b", "a"], "method": "coop"}
arrays = {side: np.full((4, 8), i, np.float32) for i, side in enumerate(["positive", "negative"])}
print(Artifact(arrays, about).save(Path(sys.argv[1])))
"""


def an_artifact(kind: str = "prompts", sets: int = 2) -> Artifact:
    stack = unit(np.random.default_rng(0), sets, 4, 8)
    arrays = dict(zip(("positive", "negative"), stack, strict=False))
    return Artifact(arrays, {"kind": kind, "method": "fdbpl", "class_names": ["é", "b"]})


@pytest.mark.parametrize("sets", [1, 2])
def test_a_file_reads_back_as_it_was(tmp_path: Path, sets: int) -> None:
    artifact = an_artifact(sets=sets)
    digest = artifact.save(tmp_path / "a.safetensors")
    loaded = Artifact.load(tmp_path / "a.safetensors", "prompts")
    assert loaded.about == artifact.about
    assert list(loaded.arrays) == sorted(artifact.arrays)
    for side, array in artifact.arrays.items():
        assert (loaded.arrays[side] == array).all()
        assert loaded.arrays[side].dtype == np.float32
    assert loaded.digest == artifact.digest == digest


def test_equal_content_is_equal_bytes_in_any_process(tmp_path: Path) -> None:
    paths = [tmp_path / f"{index}.safetensors" for index in range(3)]
    digests = {
        subprocess.run(
            [sys.executable, "-c", CODE, str(path)],
            check=True,
            capture_output=True,
            env={"PYTHONHASHSEED": str(index)},
        ).stdout
        for index, path in enumerate(paths)
    }
    assert len(digests) == 1
    assert len({path.read_bytes() for path in paths}) == 1


def test_the_order_of_keys_and_sides_does_not_matter() -> None:
    artifact = an_artifact()
    turned = Artifact(
        dict(reversed(artifact.arrays.items())), dict(reversed(artifact.about.items()))
    )
    assert turned.digest == artifact.digest


def test_one_metadata_key_holds_canonical_json(tmp_path: Path) -> None:
    artifact = an_artifact()
    artifact.save(tmp_path / "a.safetensors")
    with safetensors.safe_open(tmp_path / "a.safetensors", framework="numpy") as file:
        metadata = file.metadata()
    assert list(metadata) == ["fdbpl"]
    told = json.loads(metadata["fdbpl"])
    assert metadata["fdbpl"].encode() == canonical_json(told)
    assert len(told.pop("digest")) == 64
    assert told == artifact.about


def test_other_views_of_memory_are_saved_right(tmp_path: Path) -> None:
    values = np.arange(12, dtype=np.float64).reshape(3, 4)
    Artifact({"positive": values.T}, {"kind": "prompts"}).save(tmp_path / "a.safetensors")
    loaded = Artifact.load(tmp_path / "a.safetensors", "prompts")
    assert (loaded.arrays["positive"] == values.T).all()


def test_the_digest_sees_values_and_words() -> None:
    artifact = an_artifact()
    changed = {**artifact.arrays, "negative": artifact.arrays["negative"] + 1e-6}
    digests = {
        artifact.digest,
        Artifact(changed, artifact.about).digest,
        Artifact(artifact.arrays, {**artifact.about, "seed": 1}).digest,
    }
    assert len(digests) == 3


def test_a_classifier_decides_as_what_it_was_made_of(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    decision, features = Decision(unit(rng, 3, 8), 7.0), unit(rng, 5, 8)
    about = {"kind": "classifier", "method": "coop", "decision": decision.spec()}
    Artifact(decision.arrays(), about).save(tmp_path / "a.safetensors")
    found = decision_of(Artifact.load(tmp_path / "a.safetensors", "classifier"))
    assert np.array_equal(found.logits(features, [2, 0]), decision.logits(features, [2, 0]))
    for arrays, told in (({}, about), (decision.arrays(), {"method": "coop"})):
        with pytest.raises(UserError, match=r"a classifier of 'coop' lacks .*train-student again"):
            decision_of(Artifact(arrays, told))


@given(st.data())
def test_any_other_byte_bit_or_length_is_refused(drawn: st.DataObject) -> None:
    whole = an_artifact().data
    harmed = drawn.draw(harms(whole))
    with pytest.raises(UserError, match=r"^a: no prompts of fdbpl .*\. Mend it\.$"):
        Artifact.of(harmed, Path("a"), "prompts", "Mend it.")


@given(st.sampled_from([np.nan, np.inf, -np.inf]), st.integers(0, 31))
def test_what_is_not_finite_is_neither_written_nor_read(value: float, place: int) -> None:
    artifact = an_artifact()
    artifact.arrays["negative"].ravel()[place] = value
    with pytest.raises(UserError, match=r"prompts of method 'fdbpl', seed None: 'negative' is not"):
        _ = artifact.data
    about = canonical_json({**artifact.about, "digest": PLACE}).decode()
    data = sealed(save(dict(artifact.arrays), metadata={"fdbpl": about}))
    with pytest.raises(UserError, match=r"^a: no prompts of fdbpl \('negative' is not finite\)"):
        Artifact.of(data, Path("a"), "prompts")


@pytest.mark.parametrize("data", [b"", b"nothing", b"\xff" * 100, "cut"])
def test_damaged_files_are_named(tmp_path: Path, data: bytes | str) -> None:
    path = tmp_path / "a.safetensors"
    an_artifact().save(path)
    path.write_bytes(path.read_bytes()[:-4] if isinstance(data, str) else data)
    with pytest.raises(UserError, match=r"a\.safetensors: no prompts of fdbpl .*train-student"):
        Artifact.load(path, "prompts")


@pytest.mark.parametrize(
    "metadata", [None, {"other": "{}"}, {"fdbpl": "{"}, {"fdbpl": "[]"}, {"fdbpl": "{}"}]
)
def test_files_of_other_programs_are_refused(tmp_path: Path, metadata) -> None:
    save_file({"positive": np.zeros(3)}, tmp_path / "a.safetensors", metadata=metadata)
    with pytest.raises(UserError, match="no classifier of fdbpl"):
        Artifact.load(tmp_path / "a.safetensors", "classifier")


def test_missing_files_and_other_kinds(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.safetensors: no prompts of fdbpl"):
        Artifact.load(tmp_path / "gone.safetensors", "prompts")
    an_artifact("classifier").save(tmp_path / "a.safetensors")
    with pytest.raises(UserError, match="holds 'classifier', wanted 'prompts'"):
        Artifact.load(tmp_path / "a.safetensors", "prompts")

"""Contexts from checkpoints of the CoOp family: plain weights, and nothing else."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import coop_checkpoint
from torch.optim import Optimizer

from fdbpl.clip.checkpoint import read_checkpoint
from fdbpl.clip.model import ClipModel
from fdbpl.clip.prompting import PlainText
from fdbpl.clip.tokens import embed_words, tokenize_prompts
from fdbpl.clip.vectors import class_vectors, template_vectors
from fdbpl.system.errors import UserError
from fdbpl.system.files import sha256

NAMES = ["sea", "forest path", "old street"]


def a_context(tokens: int = 4, seed: int = 0, width: int = 64) -> torch.Tensor:
    return 0.02 * torch.randn(tokens, width, generator=torch.Generator().manual_seed(seed))


def refusal(path: Path, clip: ClipModel) -> str:
    with pytest.raises(UserError) as error:
        read_checkpoint(path, clip, NAMES)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("name", ["{}", "prompt_learner.{}", "module.prompt_learner.{}"])
@pytest.mark.parametrize("tokens", [1, 4, 16])
def test_a_context_is_read_as_it_was_saved(tmp_path, clip, tokens, name, dtype) -> None:
    context = a_context(tokens)
    path = coop_checkpoint(tmp_path / "model.pth.tar-50", clip, context, name=name, dtype=dtype)
    found = read_checkpoint(path, clip, NAMES)
    assert torch.equal(found.context, context.to(dtype).float())
    assert found.context.dtype == torch.float32
    assert found.classes == 5
    assert found.digest == sha256(path.read_bytes())


def test_weights_alone_are_enough(tmp_path: Path, clip: ClipModel) -> None:
    for content in ({"ctx": a_context()}, {"state_dict": {"ctx": a_context()}}):
        torch.save(content, tmp_path / "plain.pth")
        found = read_checkpoint(tmp_path / "plain.pth", clip, NAMES)
        assert torch.equal(found.context, a_context())
        assert found.classes is None


@pytest.mark.parametrize("tokens", [1, 4, 16])
def test_a_context_of_any_length_gives_the_plain_ways_vectors(clip, tokens: int) -> None:
    context = a_context(tokens)[None]
    plain = PlainText(clip.text_tower, tokenize_prompts(clip, " ".join("x" * tokens), tuple(NAMES)))
    with torch.inference_mode():
        expected = plain(context).numpy()
    assert np.allclose(class_vectors(clip, context, NAMES), expected, atol=2e-6)


def test_the_embeddings_of_words_classify_as_the_words_do(tmp_path, clip) -> None:
    words = "a very good photo of one nice"
    path = coop_checkpoint(tmp_path / "x.tar", clip, embed_words(clip, words), dtype=torch.float32)
    vectors = class_vectors(clip, read_checkpoint(path, clip, NAMES).context[None], NAMES)[0]
    assert np.allclose(vectors, template_vectors(clip, NAMES, words + " {}."), atol=2e-6)


def test_the_schedule_and_the_optimiser_are_not_made(tmp_path, clip, monkeypatch) -> None:
    path = coop_checkpoint(tmp_path / "x.tar", clip, a_context())
    with pytest.raises(pickle.UnpicklingError, match="CosineAnnealingLR"):
        torch.load(path, weights_only=True)  # so Dassl's file does hold objects

    def fail(*_: object) -> None:
        raise AssertionError("an object beside the weights was made")

    for kind in (Optimizer, torch.optim.SGD, torch.optim.lr_scheduler.CosineAnnealingLR):
        monkeypatch.setattr(kind, "__setstate__", fail, raising=False)
        monkeypatch.setattr(kind, "__init__", fail)
    before = set(torch.serialization.get_safe_globals())  # torch keeps them in no order
    assert read_checkpoint(path, clip, NAMES).classes == 5
    assert set(torch.serialization.get_safe_globals()) == before


class Harmful:
    def __init__(self, made: Path):
        self._made = made

    def __reduce__(self):
        return Path.touch, (self._made,)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_what_is_no_plain_weight_is_refused_and_does_not_run(tmp_path, clip) -> None:
    made = tmp_path / "made"
    path = coop_checkpoint(tmp_path / "x.tar", clip, a_context(), beside={"val": Harmful(made)})
    said = refusal(path, clip)
    assert "an object beside weights that is not made" in said
    (tmp_path / "old.pkl").write_bytes(pickle.dumps(Harmful(made)))
    refusal(tmp_path / "old.pkl", clip)
    assert not made.exists()


@pytest.mark.parametrize("kind", [torch.nn.Parameter, torch.Tensor.requires_grad_])
def test_a_context_may_be_a_parameter(tmp_path: Path, clip: ClipModel, kind) -> None:
    torch.save({"state_dict": {"ctx": kind(a_context())}, "best": np.float64(7)}, tmp_path / "x")
    found = read_checkpoint(tmp_path / "x", clip, NAMES).context
    assert torch.equal(found, a_context())
    assert not found.requires_grad


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"context": torch.zeros(5, 4, 64)}, "a context for each of 5 classes (CSC)"),
        ({"context": torch.zeros(4, 32)}, "'ctx' has shape [4, 32], wanted (M, 64)"),
        ({"context": torch.zeros(0, 64)}, "'ctx' has shape [0, 64], wanted (M, 64)"),
        ({"context": torch.zeros(74, 64)}, "'ctx' has 74 tokens, and class name 'sea' makes"),
        ({"context": torch.zeros(64)}, "'ctx' has shape [64], wanted (M, 64)"),
        ({"context": torch.full((4, 64), torch.nan)}, "values that are not finite"),
        ({"more": "meta_net.linear1.weight"}, "holds 'meta_net.linear1.weight' beside 'ctx'"),
        ({"more": "compound_prompts_text.0"}, "Wanted a method that learns a context alone"),
        ({"more": "token_prefix"}, "learned with another text tower"),
        ({"name": "{}.learned"}, "no tensor 'ctx' among 'ctx.learned'"),
    ],
)
def test_what_is_no_context_for_all_classes_is_refused(tmp_path, clip, changes, says) -> None:
    context = changes.get("context", a_context())
    more = {changes["more"]: torch.ones(5, 1, 64)} if "more" in changes else {}
    path = coop_checkpoint(
        tmp_path / "x.tar", clip, context, name=changes.get("name", "{}"), **more
    )
    assert says in refusal(path, clip)


def test_files_that_are_no_checkpoints(tmp_path: Path, clip: ClipModel) -> None:
    path = tmp_path / "x.tar"
    assert "No such file" in refusal(path, clip)
    path.write_bytes(b"")
    refusal(path, clip)
    path.write_bytes(coop_checkpoint(tmp_path / "whole.tar", clip, a_context()).read_bytes()[:500])
    refusal(path, clip)
    for content in ([1, 2], {"state_dict": 3}, {"state_dict": {"ctx": "words"}}):
        torch.save(content, path)
        assert "state" in (said := refusal(path, clip)) or "'ctx' is a str" in said


def test_another_students_context_is_told_by_its_start_token(tmp_path, clip, make_model) -> None:
    path = coop_checkpoint(tmp_path / "x.tar", clip, a_context())
    other = make_model(seed=1)
    assert "Set student to the model it was learned with" in refusal(path, other)

"""A model as open_clip reads it: the student's weights, what decides as tensors, a short script."""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import safetensors.numpy
import safetensors.torch
import torch
from numpy.typing import NDArray
from PIL import Image

from fdbpl.classify.decision import Decision
from fdbpl.clip.model import ClipModel
from fdbpl.clip.params import ModelParams
from fdbpl.clip.projection import last_projection
from fdbpl.serving.export.check import (
    CLOSE,
    TRIED,
    difference,
    pixels_of,
    require_close,
    some_pictures,
)
from fdbpl.serving.export.linear import linear_of
from fdbpl.serving.export.place import export_folder, write_labels
from fdbpl.serving.model_folder import ModelFolder
from fdbpl.serving.predictor import predictor_of
from fdbpl.serving.student import load_student
from fdbpl.system.errors import UserError
from fdbpl.system.files import readable_json

WEIGHTS, CONFIG = "open_clip_model.safetensors", "open_clip_config.json"
"""The names that open_clip looks for in a folder."""

ROUNDING = 2e-6
"""Of a logit, for each unit of its weights' length: two programs that compute the same features in
float32 differ by so much. Only long weights, as those of gda, make more than `CLOSE` of it."""

DECISION, SCRIPT = "decision.safetensors", "classify.py"
SCRIPTS = Path(__file__).parent / "scripts"

_RUN = (
    "import json, runpy, sys; script, *paths = sys.argv[1:]; sys.argv = [script]; "
    "print(json.dumps(runpy.run_path(script)['logits'](paths).tolist()))"
)


def export_open_clip(
    model: ModelFolder,
    out: Path,
    pictures: Path | None = None,
    student: ModelParams | None = None,
) -> list[str]:
    """Write a model as weights of open_clip, and a script that tells pictures by them.

    A projection that was learned in the place of the student's own takes its place in the weights.

    Args:
        model: that was opened.
        out: the folder to write.
        pictures: a folder of them to try the script on; without one some are made at random.
        student: architecture and weights of the student; needed where these were a file.

    Returns:
        What there is to say of it, in lines.

    Raises:
        UserError: see `load_student`, `linear_of` and `export_folder`; or the script decides
            otherwise than the model.
    """
    predictor = predictor_of(model)
    linear = linear_of(predictor.decision)
    clip = load_student(model, student)
    with export_folder(out) as folder:
        state = state_of(clip, predictor.decision)
        (folder / WEIGHTS).write_bytes(safetensors.torch.save(state))
        (folder / CONFIG).write_bytes(readable_json(_config(clip)))
        arrays = {"weights": linear.weights, "bias": linear.bias}
        if linear.weights.shape[1] > predictor.decision.vectors.shape[1]:
            arrays["projection"] = np.asarray(predictor.decision.projection, np.float64)
        (folder / DECISION).write_bytes(safetensors.numpy.save(arrays))
        write_labels(folder, model.about)
        shutil.copyfile(SCRIPTS / SCRIPT, folder / SCRIPT)
        with tempfile.TemporaryDirectory() as drawn:
            paths = some_pictures(pictures or _drawn(Path(drawn)), TRIED)
            wanted = predictor.logits(pixels_of(predictor, paths))
            found = _logits(folder / SCRIPT, paths)
        longest = float(np.linalg.norm(linear.weights, axis=1).max())
        require_close(wanted, found, SCRIPT, max(CLOSE, ROUNDING * longest))
    largest = difference(wanted, found).largest
    kind = "pictures" if pictures is not None else "random pictures"
    return [
        f"{SCRIPT}: of {len(paths)} {kind} the same likeliest class as by fdbpl predict, logits "
        f"within {largest:.1e}"
    ]


def state_of(clip: ClipModel, decision: Decision) -> dict[str, torch.Tensor]:
    """Return the student's tensors, with the decision's projection as its image tower's last.

    Raises:
        UserError: it cannot take that place.
    """
    if decision.image_prompts is not None:
        raise UserError(
            "the model's image tower has learned tokens, which open_clip's weights cannot hold. "
            "Take --to onnx or --to web."
        )
    state = {name: one.detach().clone() for name, one in clip.network.state_dict().items()}
    if decision.projection is None and decision.sees == "student":
        return state
    own, found = last_projection(clip), None
    if decision.projection is not None:
        found = torch.from_numpy(np.ascontiguousarray(decision.projection, np.float32))
        found = own @ found if decision.sees == "student" else found
    if found is None or found.shape != own.shape:
        raise UserError(
            "the model decides by features of another width than open_clip's weights give. "
            "Take --to onnx."
        )
    names = [name for name in ("visual.proj", "visual.head.proj.weight") if name in state]
    state[names[0]] = found if names[0] == "visual.proj" else found.T.contiguous()
    return state


def _config(clip: ClipModel) -> dict[str, Any]:
    """Return the architecture and the pre-processing as open_clip reads them."""
    config = dict(open_clip.get_model_config(clip.identity["architecture"]) or {})
    config["quick_gelu"] = clip.identity["activation"] == "quickgelu"
    # where the tokeniser's files lie on this machine is no matter of images
    config["text_cfg"] = {
        key: value for key, value in config["text_cfg"].items() if key != "tokenizer_kwargs"
    }
    how = clip.preprocessing.spec()
    keys = ("mean", "std", "interpolation", "resize_mode")
    return {"model_cfg": config, "preprocess_cfg": {key: how[key] for key in keys}}


def _drawn(folder: Path) -> Path:
    """Draw pictures to try: coarse and fine noise, of several sizes."""
    random = np.random.default_rng(0)
    for place in range(TRIED):
        cells = int(random.integers(2, 40))
        noise = Image.fromarray(random.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        width, height = random.integers(150, 400, 2)
        noise.resize((int(width), int(height)), Image.Resampling.BICUBIC).save(
            folder / f"{place:02}.png"
        )
    return folder


def _logits(script: Path, paths: list[Path]) -> NDArray[np.float64]:
    """Return the logits (n, C) that the script finds, in a process of its own.

    Raises:
        UserError: it fails.
    """
    words = [sys.executable, "-I", "-c", _RUN, str(script), *(str(path) for path in paths)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["nothing said"])[-1]
        raise UserError(f"{script.name}: it fails: {last}. Nothing was written. Report this.")
    return np.array(json.loads(done.stdout.splitlines()[-1]))

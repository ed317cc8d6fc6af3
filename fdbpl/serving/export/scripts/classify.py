"""Tell what pictures show: python classify.py PICTURES. Needs open_clip_torch, and no fdbpl."""

import json
import sys
from pathlib import Path

import open_clip
import torch
from PIL import Image, ImageOps
from safetensors.torch import load_file

HERE = Path(__file__).resolve().parent
labels, about = (
    json.loads((HERE / f"{name}.json").read_text("utf-8")) for name in ("labels", "preprocessing")
)
decision = load_file(HERE / "decision.safetensors")
model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{HERE}")
if "projection" in decision:  # what decides judges features before the image tower's last, too
    end = model.visual if hasattr(model.visual, "proj") else model.visual.head
    end.proj = None if end is model.visual else torch.nn.Identity()


@torch.inference_mode()
def logits(paths: list[str]) -> torch.Tensor:
    """Return the logits (n, C) of pictures."""
    pictures = [ImageOps.exif_transpose(Image.open(path)).convert("RGB") for path in paths]
    pixels = torch.stack([*map(preprocess, pictures)])
    features = model.eval().encode_image(pixels, normalize=True).double()
    if "projection" in decision:
        after = torch.nn.functional.normalize(features @ decision["projection"], dim=1)
        features = torch.cat([after, features], dim=1)
    return features @ decision["weights"].T + decision["bias"]


for path in sys.argv[1:]:
    row = logits([path])[0]
    share, label = (row / about["temperature"]).softmax(0).max(0)
    known = row.logsumexp(0) >= about["thresholds"]["95"]
    print(f"{path}: {labels[label]} {share:.0%}" + ("" if known else " (perhaps none of these)"))

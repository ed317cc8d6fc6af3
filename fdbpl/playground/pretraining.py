"""How the tiny pair came to be: `python -m fdbpl.playground.pretraining --out DIR` makes them anew.

Scenes are drawn afresh at every step. In the first half of the steps the image tower learns
through plain heads to name what was drawn; in the second half it meets the text tower under a
contrastive loss whose targets are soft, since in a small world many captions fit many scenes.
The heads are then dropped. See docs/playground.md.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import Progress
from torch import Tensor, nn

from fdbpl.playground import captions, drawing, tiny, world
from fdbpl.playground.merges import merge_closure
from fdbpl.system import files

# Words of templates elsewhere, kept whole so that they do not fall apart into bytes.
EXTRA_WORDS = (
    *("an", "and", "centered", "doing", "food", "image", "kind", "large", "none", "not", "other"),
    *("pet", "photos", "something", "style", "two", "unknown", "with"),
)


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a tiny model's weights, with its configuration."""

    seed: int
    steps: int
    batch: int = 96
    groups: int = 3  # kinds in a batch: classes of a dataset are all of one kind
    warm: float = 0.5  # share of the steps on the heads alone
    lr: float = 3e-3
    weight_decay: float = 0.05
    sharpness: float = 3.0  # how fast a caption's share falls with each wrong claim
    heads: float = 0.3  # weight of the heads in the second half
    crops: float = 0.3  # share of views that are close crops
    crop: tuple[float, float] = (0.35, 0.8)  # half-width of a crop's window
    view: tuple[float, float] = (0.8, 1.0)  # half-width of any other view


RECIPES = {
    "student": Recipe(seed=1, steps=2800),
    "teacher": Recipe(seed=2, steps=5200, crops=0.5, crop=(0.25, 0.8)),
}


@dataclass(frozen=True)
class Batch:
    """Scenes, their images (n, 3, S, S) in [0, 1], and whether the main thing is in view."""

    scenes: world.Scenes
    images: Tensor
    seen: NDArray[np.bool_]


def windows(rng: np.random.Generator, n: int, recipe: Recipe) -> NDArray[np.float64]:
    """Draw n views of the frame: centre x, centre y, half-width, all within the frame."""
    close = rng.random(n) < recipe.crops
    half = np.where(close, rng.uniform(*recipe.crop, n), rng.uniform(*recipe.view, n))
    x, y = rng.uniform(-1, 1, (2, n)) * (1 - half)
    return np.stack([x, y, half], 1)


def draw_batch(rng: np.random.Generator, recipe: Recipe, size: int) -> Batch:
    """Draw one batch: a few kinds, so that scenes of one kind have to be told apart."""
    kinds = rng.choice(len(world.KINDS), recipe.groups, replace=False)
    parts = []
    for kind in kinds:
        name = world.KINDS[kind]
        part = world.sample(rng, name, world.LAWS[name], recipe.batch // recipe.groups)
        world.settle(part, world.READINGS[name][0])
        parts.append(part)
    scenes = np.concatenate(parts)
    views = windows(rng, len(scenes), recipe)
    pixels, cover, _ = drawing.draw(scenes, size, views)
    images = torch.from_numpy(pixels).float().div_(255)
    close = torch.from_numpy(np.flatnonzero(views[:, 2] < recipe.crop[1]))
    images[close] = blur(images[close], int(size * rng.uniform(*recipe.crop)))
    shown = cover.mean((1, 2)) * views[:, 2] ** 2
    framed = np.isin(scenes["kind"], [world.KINDS.index(kind) for kind in world.FRAMED])
    return Batch(scenes, images, framed | (shown > 0.3 * drawing.area(scenes)))


def blur(images: Tensor, size: int) -> Tensor:
    """Return images seen at a lower resolution, as a crop of a small photo is."""
    side = images.shape[-1]
    small = nn.functional.interpolate(images, size, mode="bilinear", antialias=True)
    return nn.functional.interpolate(small, side, mode="bicubic").clamp(0, 1)


class Heads(nn.Module):
    """Plain classifiers of what was drawn: shape, colour and pattern of each layer that counts."""

    LAYERS = (world.MAIN, world.GROUND, world.COMPANION)

    def __init__(self, width: int) -> None:
        super().__init__()
        self.sizes = (len(world.GLYPHS) + 1, len(world.COLOURS), len(world.PATTERNS))
        self.linear = nn.Linear(width, len(self.LAYERS) * sum(self.sizes))

    def forward(self, features: Tensor, batch: Batch) -> Tensor:
        """Return the summed cross entropy of features (n, width), over what is in view."""
        loss = features.new_zeros(())
        parts = self.linear(features).split(self.sizes * len(self.LAYERS), 1)
        for k, part in enumerate(parts):
            layer = batch.scenes["layers"][:, self.LAYERS[k // 3]]
            field = ("glyph", "colour", "pattern")[k % 3]
            if layer["glyph"].any():
                visible = layer["on"] & (batch.seen | (k // 3 == 1))
                target = np.where(visible, layer[field].astype(np.int64), -100)
                if (target >= 0).any() and not (k // 3 == 1 and k % 3 == 0):
                    loss = loss + nn.functional.cross_entropy(part, torch.from_numpy(target))
        return loss


def encode_text(model: Any, tokens: Tensor) -> Tensor:
    """Return normalised text features, with the padding that no sentence reaches cut away."""
    end = tokens.argmax(1)
    length = int(end.max()) + 1
    x = model.token_embedding(tokens[:, :length]) + model.positional_embedding[:length]
    x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask[:length, :length]))
    return nn.functional.normalize(x[torch.arange(len(x)), end] @ model.text_projection, dim=1)


def contrast(image: Tensor, text: Tensor, scale: Tensor, target: Tensor) -> Tensor:
    """Return the two-way contrastive loss; target (texts, images) holds unnormalised log shares."""
    logits = scale * text @ image.T
    rows = -(target.softmax(1) * logits.log_softmax(1)).sum(1).mean()
    columns = -(target.softmax(0) * logits.log_softmax(0)).sum(0).mean()
    return (rows + columns) / 2


def pretrain(name: str, recipe: Recipe, progress: Progress | None = None) -> dict[str, Tensor]:
    """Return the state dict (fp16) of the tiny model `name`, trained by `recipe` on the CPU."""
    import open_clip

    tiny.register()
    torch.manual_seed(recipe.seed)
    model = open_clip.create_model(name)
    tokenizer = open_clip.get_tokenizer(name)
    size = tiny.image_size(name)
    mean, std = (
        torch.tensor(v).view(3, 1, 1) for v in (model.visual.image_mean, model.visual.image_std)
    )
    visual = model.visual.to(memory_format=torch.channels_last)
    heads = Heads(tiny.config(name)["embed_dim"])
    parameters = [*model.parameters(), *heads.parameters()]
    optimiser = torch.optim.AdamW(
        parameters, recipe.lr, (0.9, 0.98), weight_decay=recipe.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, recipe.lr, recipe.steps, pct_start=0.05, cycle_momentum=False
    )
    rng = np.random.Generator(np.random.Philox(recipe.seed))
    task = progress.add_task(name, total=recipe.steps) if progress else None
    model.train()
    for step in range(recipe.steps):
        batch = draw_batch(rng, recipe, size)
        images = ((batch.images - mean) / std).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            features = visual(images)
        features = features.float()
        named = heads(features, batch)
        if step < recipe.warm * recipe.steps:
            loss = named
        else:
            said = captions.describe(rng, batch.scenes, batch.seen)
            target = torch.from_numpy(captions.misfit(said, batch.scenes, batch.seen))
            text = encode_text(model, tokenizer(list(said.text)))
            matched = contrast(
                nn.functional.normalize(features, dim=1),
                text,
                model.logit_scale.exp(),
                -recipe.sharpness * target,
            )
            loss = matched + recipe.heads * named
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=np.log(100))
        if progress and task is not None:
            progress.update(task, advance=1, description=f"{name} loss {loss.item():.2f}")
    return {key: value.half().contiguous() if value.is_floating_point() else value
            for key, value in model.eval().state_dict().items()}  # fmt: skip


@torch.inference_mode()
def accuracies(
    name: str, state: dict[str, Tensor], scenes: int = 200
) -> dict[str, dict[str, float]]:
    """Return, for each kind and reading, how often (%) noun and colour are named right.

    New scenes, under the reading's own template, among all pairs of nouns and colours.
    """
    import open_clip

    tiny.register()
    model = open_clip.create_model(name)
    model.load_state_dict(state, strict=True)
    model.eval()
    tokenizer = open_clip.get_tokenizer(name)
    mean, std = (
        torch.tensor(v).view(3, 1, 1) for v in (model.visual.image_mean, model.visual.image_std)
    )
    rng = np.random.Generator(np.random.Philox(0))
    found: dict[str, dict[str, float]] = {}
    for kind, reading in ((k, r) for k in world.KINDS for r in world.READINGS[k]):
        drawn = world.sample(rng, kind, world.LAWS[kind], scenes)
        world.settle(drawn, reading)
        pixels, _, _ = drawing.draw(drawn, tiny.image_size(name))
        features = model.encode_image((torch.from_numpy(pixels).float() / 255 - mean) / std)
        template = captions.cues(kind, reading)[0]
        names = [(noun, colour) for noun in world.NOUNS[kind] for colour in world.COLOURS]
        text = encode_text(model, tokenizer([template.format(f"{c} {n}") for n, c in names]))
        guess = np.array(names)[(features @ text.T).argmax(1).numpy()]
        shown = world.named(drawn, reading)
        words, colours = np.array(world.WORDS), np.array(world.COLOURS)
        noun, colour = (guess == np.stack([words[shown.word], colours[shown.colour]], 1)).mean(0)
        found[f"{kind}, {reading.name.lower()}"] = {
            "noun": round(100 * float(noun), 1),
            "colour": round(100 * float(colour), 1),
        }
    return found


def merges() -> bytes:
    """Return the merges file of the tiny pair."""
    return merge_closure((*captions.words_used(), *EXTRA_WORDS))


def write(folder: Path, name: str, recipe: Recipe, state: dict[str, Tensor]) -> dict[str, Any]:
    """Write the weights and return their record: recipe, accuracies and digest."""
    from safetensors.torch import save

    data = save(state)
    files.write_whole(folder / f"{name}.safetensors", data)
    record = {"recipe": asdict(recipe), "accuracies": accuracies(name, state)}
    return record | {"sha256": files.sha256(data)}


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write into.")
@click.option("--model", "models", type=click.Choice(sorted(RECIPES)), multiple=True,
              help="Which of the two; both when left out.")  # fmt: skip
@click.option("--world", "of_world", type=click.IntRange(min=1), default=1, show_default=True,
              help="Another pair for another world: 2, 3, ... have other seeds.")  # fmt: skip
@click.option("--steps", type=click.IntRange(min=2), help="Fewer or more steps than the recipe's.")
def main(out: Path, models: Sequence[str], of_world: int, steps: int | None) -> None:
    """Pre-train the tiny student and teacher: about 5 and 20 minutes on one core."""
    torch.set_num_threads(1)
    path = out / "recipe.json"
    record = json.loads(path.read_text()) if path.exists() else {}
    files.write_whole(out / tiny.MERGES.name, merges())
    with Progress() as progress:
        for role in models or sorted(RECIPES):
            own = RECIPES[role]
            seed = own.seed + len(RECIPES) * (of_world - 1)
            recipe = replace(own, steps=steps or own.steps, seed=seed)
            name = f"fdbpl-tiny-{role}"
            record[name] = write(out, name, recipe, pretrain(name, recipe, progress))
            files.write_whole(path, files.readable_json(record))


if __name__ == "__main__":
    main()

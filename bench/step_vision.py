"""One training step of text and vision, measured: `bench.step --towers both`.

(a) online: the teacher at every step, both towers of the student plainly, by automatic
    differentiation;
(b) teacher cached: the teacher's features cached, and the student as in (a);
(c) engine: the teacher's features cached, and both towers by the exact engines, from pixels;
(d) activations: as (c), but the image tower's tokens are learned at its last layers alone, from
    cached activations of the layer before them.

The objective is KDPL's. Four tokens are learned before the class name, and four at each of the
first nine layers of the image tower (a to c) or of the last three (d). What (a) and (b) found in
the first step is compared with (c), and (d) with the plain way of the same tokens.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from bench import finding
from bench.peak import product_peak
from bench.step_way import Bench, Settings, Way, autocast, draw, pixels_of
from bench.step_way import measure as measure_features
from fdbpl.clip.plain_prompted import prompted_plainly
from fdbpl.clip.prompted_image import PromptedImage

WAYS = ("online", "teacher_cached", "engine", "activations")
METHOD = "kdpl"
TOKENS, DEPTH, LATE = 4, 9, 3


def prompted(clip: Any, s: Settings) -> tuple[PromptedImage, int, int]:
    """Return the prompted tower of a way, the layer at which tokens enter, and how many layers."""
    layers = len(clip.network.visual.transformer.resblocks)
    depth = min(LATE if s.way in ("features", "activations") else DEPTH, layers)
    first = layers - depth if s.way in ("features", "activations") else 0
    tower = PromptedImage(clip, first=first, precision=s.precision, memory_mb=s.memory_mb)
    return tower, first, depth


class VisionBench(Bench):
    """The models and features of one way of both towers."""

    def __init__(self, s: Settings):
        super().__init__(s)
        self.tower = self.student.network.to(s.device).get_submodule("visual")
        self.engine, self.first, self.depth = prompted(self.student, s)
        self.pixels = pixels_of(s, self.student).to(s.device)
        self.prompts = torch.empty(0)
        see: Callable[[], Tensor] = self._plainly
        if s.way == "engine":
            see = self._from_pixels
        if s.way == "activations":
            self.activations = torch.load(Path(s.folder) / "activations.pt").to(s.device)
            see = self._from_activations
        self.use(see)

    def use(self, see: Callable[[], Tensor]) -> None:
        """Encode the images of every step this way."""
        self.look["student"] = self.cached["student"] = see

    def plainly(self) -> None:
        self.use(self._plainly)

    def way(self, classes: int, method: str) -> Way:
        way = super().way(classes, method)
        width = self.tower.transformer.width
        start = 0.02 * draw(self.s, 1, self.depth, TOKENS, width, salt=3)
        self.prompts = start.to(self.s.device).requires_grad_()
        way.learn(self.prompts)
        return way

    def _plainly(self) -> Tensor:
        with autocast(self.s):
            found = prompted_plainly(self.tower, self.prompts[0], self.pixels, self.first)
        return torch.nn.functional.normalize(found.float(), dim=-1)

    def _from_pixels(self) -> Tensor:
        return self.engine(self.prompts, self.engine.activations(self.pixels)[None])[0]

    def _from_activations(self) -> Tensor:
        return self.engine(self.prompts, self.activations[None])[0]


def measure(s: Settings) -> dict[str, Any]:
    """Run a way; return times, peak memory and the first step's loss. Gradients go to files."""
    folder = Path(s.folder)
    if s.way == "features":
        measure_features(s)
        clip = Bench(s).student
        activations = prompted(clip, s)[0].activations(pixels_of(s, clip).to(s.device))
        torch.save(activations.cpu(), folder / "activations.pt")
        return {}
    torch.set_num_threads(s.threads)
    bench = VisionBench(s)
    bench.warm(METHOD)
    done = bench.run(s.classes, METHOD, s.steps)
    torch.save(done.gradients, folder / f"{s.way}.pt")
    result = {
        "ms": [1000 * seconds for seconds in done.seconds],
        "loss": done.loss,
        "peak_mb": bench.peak_mb(),
    }
    if s.way in ("engine", "activations"):
        result["gflop"] = bench.gflop(done.way)
        result["product_gflops"] = product_peak(s.device, s.precision)
    if s.way == "activations":
        bench.plainly()
        like = bench.run(s.classes, METHOD, 1)
        result["loss_plain"] = like.loss
        torch.save(like.gradients, folder / "late_plain.pt")
    return result


def row(
    settings: Settings,
    run_way: Callable[[Settings], dict[str, Any]],
    difference: Callable[[Path, str, str], float],
) -> dict[str, Any]:
    """Measure all ways at one number of classes."""
    folder = Path(settings.folder)
    found = {way: run_way(replace(settings, way=way)) for way in WAYS}
    ms = {way: median(found[way]["ms"]) for way in WAYS}
    losses = [(found["engine"]["loss"], found[way]["loss"]) for way in ("online", "teacher_cached")]
    losses.append((found["activations"]["loss"], found["activations"]["loss_plain"]))
    pairs = (("engine", "online"), ("engine", "teacher_cached"), ("activations", "late_plain"))
    return {
        "classes": settings.classes,
        **{f"{way}_ms": ms[way] for way in WAYS},
        **{f"online_over_{way}": ms["online"] / ms[way] for way in WAYS[1:]},
        "loss_rel": max(abs(a - b) / abs(b) for a, b in losses),
        "grad_rel": max(difference(folder, *pair) for pair in pairs),
        "peak_mb": {way: found[way]["peak_mb"] for way in WAYS},
        "gflop": {way: found[way]["gflop"] for way in WAYS[2:]},
        "product_gflops": max(found[way]["product_gflops"] for way in WAYS[2:]),
    }


def section(found: Mapping[str, Any]) -> str:
    """Return the table of steps of both towers."""
    heads = {"classes": "classes", "online_ms": "(a) online, ms",
             "teacher_cached_ms": "(b) teacher cached, ms", "engine_ms": "(c) engine, ms",
             "activations_ms": "(d) activations, ms", "online_over_engine": "a/c",
             "online_over_activations": "a/d", "loss_rel": "loss off by",
             "grad_rel": "gradient off by", "peak": "(c), (d) of a matrix product",
             "memory": "peak MiB, a / b / c / d"}  # fmt: skip
    lines = []
    for row in found["rows"]:
        rates = [row["gflop"][way] / row[f"{way}_ms"] * 1000 for way in WAYS[2:]]
        shares = [f"{rate / row['product_gflops']:.0%}" for rate in rates]
        memory = " / ".join(f"{row['peak_mb'][way]:,.0f}" for way in WAYS)
        lines.append({**row, "peak": ", ".join(shares), "memory": memory})
    return f"{finding.source(found)}\n\n{finding.rows(heads, lines)}"

"""One training step of text and vision, measured: `bench.step --towers both`.

(a) online: the teacher at every step, both towers of the student plainly, by automatic
    differentiation;
(b) teacher cached: the teacher's features cached, and the student as in (a);
(c) engine: the teacher's features cached, and both towers by the exact engines, from pixels;
(d) activations: as (c), but the image tower's tokens are learned at its last layers alone, from
    cached activations of the layer before them; each number of layers that --late has.

The objective is KDPL's. Four tokens are learned before the class name, and four at each of the
first nine layers of the image tower (a to c) or of its last ones (d). What (a) and (b) found in
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
TOKENS, DEPTH = 4, 9


def prompted(clip: Any, s: Settings) -> tuple[PromptedImage, int, int]:
    """Return the prompted tower of a way, the layer at which tokens enter, and how many layers."""
    layers, is_late = len(clip.network.visual.transformer.resblocks), s.way == "activations"
    depth = min(s.last_layers[0] if is_late else DEPTH, layers)
    first = layers - depth if is_late else 0
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
            self.activations = torch.load(Path(s.folder) / f"below-{self.first}.pt").to(s.device)
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
        for late in s.late.split(","):
            tower, first, _ = prompted(clip, replace(s, way="activations", late=late))
            found = tower.activations(pixels_of(s, clip).to(s.device))
            torch.save(found.cpu(), folder / f"below-{first}.pt")
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
    late = {
        str(one): median(run_way(replace(settings, way="activations", late=str(one)))["ms"])
        for one in settings.last_layers[1:]
    }
    ms = {way: median(found[way]["ms"]) for way in WAYS}
    losses = [(found["engine"]["loss"], found[way]["loss"]) for way in ("online", "teacher_cached")]
    losses.append((found["activations"]["loss"], found["activations"]["loss_plain"]))
    pairs = (("engine", "online"), ("engine", "teacher_cached"), ("activations", "late_plain"))
    return {
        "classes": settings.classes,
        **{f"{way}_ms": ms[way] for way in WAYS},
        "late_ms": {str(settings.last_layers[0]): ms["activations"], **late},
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
    late = [
        {"classes": row["classes"], "layers": layers, "ms": ms, "a/d": row["online_ms"] / ms,
         "c/d": row["engine_ms"] / ms}
        for row in found["rows"]
        for layers, ms in row["late_ms"].items()
        if len(row["late_ms"]) > 1
    ]  # fmt: skip
    table = f"{finding.source(found)}\n\n{finding.rows(heads, lines)}"
    if not late:
        return table
    names = {"classes": "classes", "layers": "last layers, (d)", "ms": "ms", "a/d": "a/d",
             "c/d": "c/d"}  # fmt: skip
    return f"{table}\n\n{finding.rows(names, late)}"

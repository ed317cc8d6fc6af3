"""One way of training, measured: bench.step calls `measure` in a process of its own."""

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
import torch.nn.functional as F
from open_clip import IMAGENET_CLASSNAMES
from torch import Tensor

from bench.peak import gflop, product_peak, synchronise
from bench.plain_parts import PlainInParts, bytes_per_class
from fdbpl.clip.model import ClipModel
from fdbpl.clip.prompting import PlainText, TextEncoder
from fdbpl.clip.shapes import random_model
from fdbpl.clip.shared_prefix import SharedPrefixText
from fdbpl.clip.tokens import tokenize_prompts
from fdbpl.methods.batch import Batch
from fdbpl.methods.features import Teacher
from fdbpl.methods.options import POSITIVE
from fdbpl.methods.prompts import PromptMethod, starting_contexts
from fdbpl.methods.registry import find_method

WARM_CLASSES = 10
TEACHER_SCALE = 100.0
METHOD = {"online": "kdpl", "teacher_cached": "paper", "engine": "paper"}


@dataclass(frozen=True)
class Settings:
    """What a process measures.

    `way` is "features", "online", "teacher_cached" or "engine", and of both towers "activations";
    `towers` is "text" or "both"; `late` are numbers of last layers of the image tower, with commas,
    that tokens are learned at in the way "activations", which takes the first.
    """

    way: str
    towers: str
    student: str
    teacher: str
    classes: int
    batch: int
    device: str
    threads: int
    steps: int
    precision: str
    memory_mb: int
    plain_mb: int | None
    seed: int
    folder: str
    late: str = "3"

    @property
    def last_layers(self) -> list[int]:
        return [int(one) for one in self.late.split(",")]


def autocast(s: Settings) -> torch.autocast:
    return torch.autocast(s.device, dtype=torch.bfloat16, enabled=s.precision == "bf16")


def draw(s: Settings, *shape: int, salt: int) -> Tensor:
    generator = torch.Generator().manual_seed(1000 * s.seed + salt)
    return torch.randn(*shape, generator=generator)


def pixels_of(s: Settings, clip: ClipModel) -> Tensor:
    """Draw a batch (B, 3, S, S) for this model."""
    return draw(s, s.batch, 3, clip.image_size, clip.image_size, salt=1)


def image_tower(s: Settings, clip: ClipModel) -> Callable[[], Tensor]:
    """Return what runs an image tower over the batch's pixels, as an online step does."""
    pixels = pixels_of(s, clip).to(s.device)
    clip.network.to(s.device)

    def encode() -> Tensor:
        with torch.no_grad(), autocast(s):
            features = clip.network.encode_image(pixels)
        return F.normalize(features.float(), dim=-1)

    return encode


class Way:
    """One way's step: loss and gradient on the contexts, then SGD."""

    def __init__(self, s: Settings, names: list[str], student: ClipModel, method: str):
        learned = find_method(method)
        if not isinstance(learned, PromptMethod):
            raise ValueError(f"{method} learns no prompts")
        self.s, self.objective = s, learned.objective
        starts = torch.stack(starting_contexts(student, learned.starts))
        self.contexts = starts.to(s.device).requires_grad_()
        self.learned = [self.contexts]
        self.optimiser = torch.optim.SGD(self.learned, lr=0.002, momentum=0.9)
        self.scale = student.logit_scale
        self.parts = 1
        student.move_text(s.device)
        tokens = tokenize_prompts(student, POSITIVE, tuple(names))
        self.text = self._text(student, tokens)

    def learn(self, more: Tensor) -> None:
        """Learn this beside the contexts."""
        self.learned.append(more)
        self.optimiser.add_param_group({"params": [more]})

    def _text(self, student: ClipModel, tokens: Any) -> TextEncoder:
        s, tower = self.s, student.text_tower
        if s.way in ("engine", "activations"):
            engine = SharedPrefixText(tower, tokens, s.precision, s.memory_mb)
            self.parts = len(engine.parts(len(self.contexts)))
            return engine
        with autocast(s):
            a_class = bytes_per_class(tower, tokens, self.contexts[0])
        needed = a_class * len(self.contexts)
        room = free_bytes(s)
        if needed * len(tokens.suffixes) <= room:
            return PlainText(tower, tokens)
        size = max(1, room // needed // 4)
        whole = PlainInParts(tower, tokens, size, held=3)
        self.parts = len(whole.parts)
        return whole

    def loss(self, student: Tensor, teacher: Tensor) -> Tensor:
        with autocast(self.s):
            text = self.text(self.contexts)
        labels = torch.zeros(len(student), dtype=torch.long, device=student.device)
        terms = self.objective(Batch(student, teacher, labels), text.float(), self.scale)
        return torch.stack(tuple(terms.values())).sum()

    def step(self, student: Tensor, teacher: Tensor) -> Tensor:
        loss = self.loss(student, teacher)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        return loss.detach()


def free_bytes(s: Settings) -> int:
    """Memory that a plain way may fill: what was asked for, or four fifths of what is free."""
    if s.plain_mb is not None:
        return s.plain_mb << 20
    if s.device == "cuda":
        return int(0.8 * torch.cuda.mem_get_info()[0])
    return int(0.8 * psutil.virtual_memory().available)


@dataclass
class Run:
    """Some steps of a way: how long each took, and the first one's loss and gradients."""

    way: Way
    seconds: list[float]
    loss: float
    gradients: list[Tensor]


class Bench:
    """The models and features of one way."""

    def __init__(self, s: Settings):
        self.s = s
        self.student = random_model(s.student, s.seed)
        student, teacher = (
            torch.load(Path(s.folder) / f"{role}.pt").to(s.device)
            for role in ("student", "teacher")
        )
        self.width = teacher.shape[1]
        self.cached: dict[str, Callable[[], Tensor]] = {
            "student": lambda: student,
            "teacher": lambda: teacher,
        }
        self.look = dict(self.cached)
        if s.way != "engine":
            self.look["student"] = image_tower(s, self.student)
        if s.way == "online":
            self.look["teacher"] = image_tower(s, random_model(s.teacher, s.seed + 1))

    def teacher(self, classes: int) -> Teacher:
        """Draw the teacher's class vectors: encoded once a training, so no part of a step."""
        vectors = F.normalize(draw(self.s, classes, self.width, salt=2), dim=-1)
        return Teacher(vectors.to(self.s.device), TEACHER_SCALE)

    def warm(self, method: str) -> None:
        """Take a step of few classes on cached features: an image tower warms in its own steps."""
        look, self.look = self.look, self.cached
        self.run(min(WARM_CLASSES, self.s.classes), method, 1)
        self.look = look

    def way(self, classes: int, method: str) -> Way:
        return Way(self.s, list(IMAGENET_CLASSNAMES[:classes]), self.student, method)

    def run(self, classes: int, method: str, steps: int) -> Run:
        way = self.way(classes, method)
        teacher = self.teacher(classes)
        done = Run(way, [], 0.0, [])
        for step in range(steps):
            synchronise(self.s.device)
            start = time.perf_counter()
            loss = self.step(way, teacher)
            synchronise(self.s.device)
            done.seconds.append(time.perf_counter() - start)
            if step == 0:
                done.loss = loss.item()
                done.gradients = [x.grad.clone().cpu() for x in way.learned]
        return done

    def step(self, way: Way, teacher: Teacher) -> Tensor:
        student = self.look["student"]()
        return way.step(student, teacher.log_probabilities(self.look["teacher"]()))

    def peak_mb(self) -> float:
        if self.s.device == "cuda":
            return torch.cuda.max_memory_allocated() / 2**20
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10

    def gflop(self, way: Way) -> float:
        """Count a step's matrix products, in 1e9 operations."""
        return gflop(lambda: self.step(way, self.teacher(self.s.classes)))


def measure(s: Settings) -> dict[str, Any]:
    """Run the way; return times, peak memory and the first step's loss. Gradients go to files."""
    torch.set_num_threads(s.threads)
    folder = Path(s.folder)
    if s.way == "features":
        for role, name, seed in (("student", s.student, 0), ("teacher", s.teacher, 1)):
            features = image_tower(s, random_model(name, s.seed + seed))()
            torch.save(features.cpu(), folder / f"{role}.pt")
        return {}
    bench = Bench(s)
    bench.warm(METHOD[s.way])
    done = bench.run(s.classes, METHOD[s.way], s.steps)
    torch.save(done.gradients, folder / f"{s.way}.pt")
    result: dict[str, Any] = {
        "ms": [1000 * seconds for seconds in done.seconds],
        "loss": done.loss,
        "parts": done.way.parts,
        "peak_mb": bench.peak_mb(),
    }
    if s.way == "engine":
        result["gflop"] = bench.gflop(done.way)
        result["peak_gflops"] = product_peak(s.device, s.precision)
        like_online = bench.run(s.classes, METHOD["online"], 1)
        result["loss_as_online"] = like_online.loss
        torch.save(like_online.gradients, folder / "engine_as_online.pt")
    return result

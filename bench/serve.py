"""How fast `fdbpl serve` answers many clients at once: python -m bench.serve --json FILE

The model is that of `bench.predict`; clients, in a process of their own, each send the bytes of a
picture and wait for the answer before they send the next. "Batched" classifies pictures of many
requests together, as served; "one at a time" each by itself. The image tower runs in ONNX Runtime,
as served, or in torch, the field's plain way, or, with `--int8 FOLDER`, as the exported graph of 8
bits, calibrated on that folder's pictures and tried on its others. First stand the parts alone, as
`bench.predict` measures them: the service cannot surpass their limit, since decoding and encoding
share the cores.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
import uvicorn

from bench import finding
from bench.predict import made, pictures, rate, rows_of
from fdbpl.clip.model import ClipModel
from fdbpl.data.images import decode
from fdbpl.serving.export.graph import whole_graph
from fdbpl.serving.export.int8 import write_int8
from fdbpl.serving.export.session import logits_of, open_graph
from fdbpl.serving.make import save_model
from fdbpl.serving.model_folder import TOWER, open_model
from fdbpl.serving.predictor import Predictor, load_predictor
from fdbpl.serving.server import Settings, create_app


@contextmanager
def serving(predictor: Predictor, batch: int) -> Iterator[int]:
    """Serve a model in a thread; give the port."""
    app = create_app(predictor, Settings("bench", batch=batch, workers=os.cpu_count() or 1))
    listening = socket.socket()
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as `fdbpl serve` does
    listening.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield int(listening.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join()


def row(port: int, folder: Path, clients: int, seconds: float) -> dict[str, float]:
    """Return what so many clients see: milliseconds of the middle and of the slowest hundredth."""
    words = [sys.executable, "-m", "bench.clients", str(port), str(folder), str(clients)]
    subprocess.run([*words, "2"], check=True, capture_output=True)  # once warm
    done = subprocess.run([*words, str(seconds)], check=True, capture_output=True)
    took = json.loads(done.stdout)
    p50, p99 = np.percentile(took, [50, 99])
    return {"p50": 1000 * float(p50), "p99": 1000 * float(p99), "rate": len(took) / seconds}


def by_torch(predictor: Predictor, clip: ClipModel) -> Predictor:
    """Return the same model with its image tower in torch."""
    tower = clip.network.get_submodule("visual")

    def features(pixels: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            found = torch.nn.functional.normalize(tower(torch.from_numpy(pixels)), dim=-1)
        return found.numpy()

    return replace(predictor, tower=features)  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class ByGraph(Predictor):
    """A model whose whole graph runs, from pixels to logits."""

    graph: Callable[[np.ndarray], np.ndarray]

    def logits(self, pixels: np.ndarray) -> np.ndarray:
        """Return the logits (n, C) of pixels (n, 3, S, S)."""
        return self.graph(pixels)


def by_int8(predictor: Predictor, model: Path, folder: Path, graph: Path) -> tuple[Predictor, str]:
    """Return the same model as a graph of 8 bits, written to `graph`, and what that loses."""
    whole = whole_graph(open_model(model).read(TOWER), predictor.decision)
    loss = write_int8(whole, graph, predictor, folder)
    run = logits_of(open_graph(graph.read_bytes()))
    own = {field.name: getattr(predictor, field.name) for field in fields(predictor)}
    return ByGraph(**own, graph=run), loss.line()


def parts(predictor: Predictor, model: Path, clip: ClipModel, paths: list[str]) -> dict[str, float]:
    """Measure decoder and encoder alone: pictures a second, and milliseconds of one picture."""
    found = dict(rows_of(model, clip, paths, os.cpu_count() or 1))
    ready = predictor.pixels(decode(Path(paths[0])))[None]
    one = rate(lambda: sum(len(predictor.tower(ready)) for _ in paths))
    return {
        "decoder": found["decoder"],
        "encoder": found["encoder"],
        "limit": 1 / (1 / found["encoder"] + 1 / found["decoder"]),
        "one_ms": 1000 / one,
    }


@click.command()
@click.option("--clients", default="1,8,64", show_default=True)
@click.option("--seconds", default=8.0, show_default=True, help="Of one measurement.")
@click.option("--size", default=500, show_default=True, help="Longer side of a picture, pixels.")
@click.option("--int8", type=click.Path(path_type=Path), help="Pictures to calibrate 8 bits on.")
@click.option("--json", "path", type=click.Path(path_type=Path), required=True)
def main(clients: str, seconds: float, size: int, int8: Path | None, path: Path) -> None:
    """Measure the service, batched and one at a time, by ONNX Runtime, torch and in 8 bits."""
    torch.set_num_threads(1)  # as many batches at once as there are cores
    asked = {"clients": clients, "seconds": seconds, "size": size}
    found: dict[str, Any] = {"rows": []}
    model = made()
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root)
        save_model(folder / "model", model, {})
        (folder / "pictures").mkdir()
        paths = pictures(folder / "pictures", 64, size)
        served = load_predictor(folder / "model", threads=1)
        found["parts"] = parts(served, folder / "model", model.clip, paths)
        towers = {"ONNX": served, "torch": by_torch(served, model.clip)}
        if int8 is not None:
            towers["ONNX, int8"], found["int8"] = by_int8(
                served, folder / "model", int8, folder / "int8.onnx"
            )
        for tower, predictor in towers.items():
            for way, batch in (("batched", 32), ("one at a time", 1)):
                with serving(predictor, batch) as port:
                    for count in map(int, clients.split(",")):
                        found["rows"].append(
                            {
                                "tower": tower,
                                "way": way,
                                "clients": count,
                                **row(port, folder / "pictures", count, seconds),
                            }
                        )
        whole = finding.save(path, "serve", asked, **found)
    click.echo(section(whole))


def section(found: dict[str, Any]) -> str:
    """Return the table for docs/performance.md."""
    base = {
        one["clients"]: one["rate"]
        for one in found["rows"]
        if (one["tower"], one["way"]) == ("torch", "one at a time")
    }
    alone = found["parts"]
    lines = [{**one, "times": f"{one['rate'] / base[one['clients']]:.1f}"} for one in found["rows"]]
    for one in lines:
        one["of_encoder"] = f"{one['rate'] / alone['encoder']:.0%}"
        one["of_limit"] = f"{one['rate'] / alone['limit']:.0%}"
    heads = {"tower": "image tower", "way": "requests", "clients": "clients",
             "p50": "p50, ms", "p99": "p99, ms", "rate": "pictures/s",
             "of_encoder": "of the encoder", "of_limit": "of the limit",
             "times": "times torch, one at a time"}  # fmt: skip
    said = [
        finding.source(found),
        f"Alone: encoder {alone['encoder']:.0f} pictures/s in batches, decoder "
        f"{alone['decoder']:.0f}, the limit of both on these cores {alone['limit']:.0f}; one "
        f"picture through the encoder {alone['one_ms']:.1f} ms.",
        *([f"8 bits: {found['int8']}."] if "int8" in found else []),
    ]
    return "\n".join(said) + f"\n\n{finding.rows(heads, lines)}"


if __name__ == "__main__":
    main()

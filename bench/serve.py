"""How fast `fdbpl serve` answers many clients at once: python -m bench.serve --json FILE

The model is that of `bench.predict`; clients, in a process of their own, each send the bytes of a
picture and wait for the answer before they send the next. "Batched" classifies pictures of many
requests together, as served; "one at a time" each by itself. The image tower runs in ONNX Runtime,
as served, or in torch, the field's plain way.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
import uvicorn

from bench import finding
from bench.predict import made, pictures
from fdbpl.clip.model import ClipModel
from fdbpl.serving.make import save_model
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


@click.command()
@click.option("--clients", default="1,8,64", show_default=True)
@click.option("--seconds", default=8.0, show_default=True, help="Of one measurement.")
@click.option("--size", default=500, show_default=True, help="Longer side of a picture, pixels.")
@click.option("--json", "path", type=click.Path(path_type=Path), required=True)
def main(clients: str, seconds: float, size: int, path: Path) -> None:
    """Measure the service, batched and one at a time, by ONNX Runtime and by torch."""
    torch.set_num_threads(1)  # as many batches at once as there are cores
    asked = {"clients": clients, "seconds": seconds, "size": size}
    found: dict[str, Any] = {"rows": []}
    model = made()
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root)
        save_model(folder / "model", model, {})
        (folder / "pictures").mkdir()
        pictures(folder / "pictures", 16, size)
        served = load_predictor(folder / "model", threads=1)
        for tower, predictor in (("ONNX", served), ("torch", by_torch(served, model.clip))):
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
    lines = [{**one, "times": f"{one['rate'] / base[one['clients']]:.1f}"} for one in found["rows"]]
    heads = {"tower": "image tower", "way": "requests", "clients": "clients",
             "p50": "p50, ms", "p99": "p99, ms", "rate": "pictures/s",
             "times": "times torch, one at a time"}  # fmt: skip
    return f"{finding.source(found)}\n\n{finding.rows(heads, lines)}"


if __name__ == "__main__":
    main()

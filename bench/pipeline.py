"""What the tools around a stage cost: python -m bench.pipeline --json pipeline.json

Runs in a temporary clone of the project, on two drawn datasets with little training, so that what
is left is overhead. Takes about three minutes; keep the machine quiet.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import click
import yaml

from bench import finding
from fdbpl.stages import OVER_ALL, PER_DATASET

PROJECT = Path(__file__).resolve().parents[1]
DATASETS = ["textures", "icons"]
REPEATS = 3

IMPORTS = {
    "Python itself": "pass",
    "fdbpl.settings.params, what every stage reads": "import fdbpl.settings.params",
    "numpy": "import numpy",
    "torch": "import torch",
    "torch and open_clip": "import open_clip",
    "the same, as a stage loads it": "import fdbpl.stages; fdbpl.stages.load('open_clip')",
    "dvc": "import dvc.cli, dvc.repo",
    "prefect": "import prefect",
    "mlflow": "from mlflow import MlflowClient",
}


class Bench:
    """A clone of the project over some drawn datasets with little training, and a stop watch."""

    def __init__(self, folder: Path, datasets: list[str], *, transfer: bool = True) -> None:
        self.folder = folder
        subprocess.run(["git", "clone", "-q", str(PROJECT), str(folder)], check=True)
        path = folder / "params.yaml"
        params = yaml.safe_load(path.read_text())
        params.update(datasets=datasets, development=[], seeds=[1], shots=2)
        params["transfer"] = {"source": datasets[0], "targets": datasets[1:]} if transfer else None
        params["train"]["epochs"] = 2
        params["regions"]["per_image"] = 2
        path.write_text(yaml.safe_dump(params))

    def run(self, *words: str, **environment: str) -> None:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        known = {**os.environ, "PATH": path, "PYTHONPATH": str(self.folder)}
        known |= {"DVC_NO_ANALYTICS": "1", **environment}
        done = subprocess.run(
            [sys.executable, *words],
            cwd=self.folder,
            env=known,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(f"{' '.join(words)} failed:\n{done.stdout}{done.stderr}")

    def seconds(self, *words: str, repeats: int = REPEATS, **environment: str) -> float:
        """Median wall-clock seconds of a command."""
        took = []
        for _ in range(repeats):
            start = time.perf_counter()
            self.run(*words, **environment)
            took.append(time.perf_counter() - start)
        return median(took)


def measure(bench: Bench) -> dict[str, dict[str, float]]:
    imports = {name: bench.seconds("-c", code) for name, code in IMPORTS.items()}
    bench.run("-m", "dvc", "repro")
    stages = len(PER_DATASET) * len(DATASETS) + len(OVER_ALL)
    evaluate = ("-m", "flows.stage", "evaluate", DATASETS[0])
    repro = ("-m", "dvc", "repro", "--single-item", "--force", f"evaluate@{DATASETS[0]}")
    plain = bench.seconds(*evaluate, DVC_STAGE="evaluate")
    under_dvc = bench.seconds(*repro)
    first = bench.seconds("-m", "fdbpl", "record", repeats=1)
    again = bench.seconds("-m", "fdbpl", "record")
    up = bench.seconds("-m", "fdbpl", "up", repeats=1)
    try:
        found = bench.seconds("-m", "fdbpl", "up")
        server = next(line for line in (bench.folder / "prefect.toml").open() if "url" in line)
        url = server.split('"')[1]
        under_prefect = bench.seconds(*evaluate, DVC_STAGE="evaluate", PREFECT_API_URL=url)
        deployment = ("-m", "prefect", "deployment", "run", "benchmark/playground", "--watch")
        nothing_to_do = bench.seconds(*deployment)
    finally:
        bench.run("-m", "fdbpl", "down")
    runs = 8 * len(DATASETS) + 8 + 8
    stage = {
        "`evaluate`, as a plain command": plain,
        "the same as a flow on a running Prefect server": under_prefect,
        "the same under DVC": under_dvc,
        f"`dvc repro` with nothing to do, {stages} stages": bench.seconds("-m", "dvc", "repro"),
        f"`fdbpl record`, a new database and {runs} runs": first,
        "`fdbpl record` with nothing to do": again,
        "`fdbpl up`, the first time": up,
        "`fdbpl up`, when all runs": found,
        "`prefect deployment run --watch` with nothing to do": nothing_to_do,
    }
    return {"imports": imports, "commands": stage}


@click.command()
@click.option("--json", "path", type=click.Path(path_type=Path), required=True)
def main(path: Path) -> None:
    """Measure imports and commands in a clone of what is committed."""
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(Bench(Path(folder) / "fdbpl", DATASETS))
    print(section(finding.save(path, "pipeline", {}, **measured)))


def section(found: dict[str, Any]) -> str:
    """Return the tables for docs/performance.md."""
    tables = [
        finding.rows(
            {"what": title, "seconds": "seconds"},
            [{"what": name, "seconds": took} for name, took in found[key].items()],
        )
        for title, key in (("import", "imports"), ("command", "commands"))
    ]
    about = (
        f"{finding.source(found)}\nIn a clone with {len(DATASETS)} small datasets, so that what is "
        f"left is overhead: medians of {REPEATS}."
    )
    return "\n\n".join([about, *tables])


if __name__ == "__main__":
    main()

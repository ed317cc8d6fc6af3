"""Memory and speed of training from streamed caches: python -m bench.stream --json stream.json

Writes caches of random features at three sizes, and trains one epoch of each in a process of its
own, under one budget of memory; then the smallest once more, held whole. `--doc` writes the table
into docs/scale.md. Needs some GiB of disk for a few minutes.
"""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from bench.blocks import replace_block
from bench.stream_way import TEACHER_DIM, Settings
from fdbpl.system.files import readable_json, write_whole
from fdbpl.system.machine import machine

DOC = Path(__file__).resolve().parents[1] / "docs" / "scale.md"
HELD_MB = 1 << 20


def run(settings: Settings, action: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "bench.stream_way", json.dumps(asdict(settings)), action],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    if done.returncode:
        raise click.ClickException(f"{settings.regions} regions, {action}: failed")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def table(rows: list[dict[str, Any]], settings: Settings, about: str) -> str:
    lines = [
        f"One epoch of `{settings.method}` at batches of {settings.batch} from the tiny student's "
        f"width and a teacher's of {TEACHER_DIM}, {settings.crops} regions an image, "
        f"`cache.memory_mb` {settings.memory_mb}; {about}.",
        "",
        "| regions | features, MiB | on disk, MiB | read | peak memory beyond the model, MiB "
        "| regions trained a second | rows decoded for one used |",
        "| ---: | ---: | ---: | --- | ---: | ---: | ---: |",
    ]
    for row in rows:
        how = "streamed" if row["streamed"] else "held"
        lines.append(
            f"| {row['regions']:,} | {row['raw_mb']:,.0f} | {row['stored_mb']:,.0f} | {how} "
            f"| {row['peak_mb'] - row['before_mb']:,.0f} | {row['rows_s']:,.0f} "
            f"| {row['amplification']:.1f} |"
        )
    return "\n".join(lines) + "\n"


@click.command()
@click.option("--regions", default="200000,400000,800000", show_default=True)
@click.option("--crops", default=10, show_default=True)
@click.option("--classes", default=50, show_default=True)
@click.option("--batch", default=128, show_default=True)
@click.option("--epochs", default=1, show_default=True)
@click.option("--memory-mb", default=512, show_default=True, help="cache.memory_mb.")
@click.option("--method", default="fdbpl", show_default=True)
@click.option("--json", "path", type=click.Path(path_type=Path), required=True)
@click.option("--doc", is_flag=True, help="Write the table into docs/scale.md.")
def main(regions: str, path: Path, doc: bool, **options: Any) -> None:
    """Measure peak memory at several sizes of the cache."""
    rows = []
    for count in [int(one) for one in regions.split(",")]:
        with tempfile.TemporaryDirectory() as folder:
            settings = Settings(folder=folder, regions=count, **options)
            run(settings, "write")
            rows.append(run(settings, "measure"))
            if len(rows) == 1:
                held = run(replace(settings, memory_mb=HELD_MB), "measure")
        click.echo(json.dumps(rows[-1]), err=True)
        write_whole(path, readable_json([*rows, held]))
    text = table([*rows, held], settings, ", ".join(machine()))
    click.echo(text)
    if doc:
        replace_block(DOC, "bench.stream", text)


if __name__ == "__main__":
    main()

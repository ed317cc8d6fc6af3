r"""The cache beside other formats, on the same regions: python -m bench.cache --json cache.json

Each format is built and read in processes of its own, pinned to one core, in rounds that alternate
between the formats; of each number the best round counts. Formats are those of the extra `bench`;
MosaicML streaming's pins exclude this project's numpy, so its packages are given as a folder:

    pip install --target mosaic --no-deps mosaicml-streaming "numpy<2.2" "transformers<5" \
        "huggingface-hub<1" "tokenizers<0.23" "xxhash<4" "catalogue<3" brotli python-snappy \
        cramjam zstd
    python -m bench.cache --mosaic mosaic --json cache.json --doc

Takes about four minutes; keep the machine quiet. `--doc` writes docs/cache-bench.md.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from bench.blocks import replace_block
from bench.cache_formats import FORMATS, Mosaic
from bench.cache_way import Settings, unit_features
from fdbpl.system.files import readable_json, write_whole

DOC = Path(__file__).resolve().parents[1] / "docs" / "cache-bench.md"

# column of the record: (head of the table, digits, whether more is better)
COLUMNS = {
    "bytes_per_region": ("bytes per region", 0, False),
    "bytes_on_disk": ("on disk once read", 0, False),
    "build_mb_s": ("build MB/s", 0, True),
    "read_mb_s": ("read MB/s", 0, True),
    "batches_s": ("random batches/s", 0, True),
    "first_batch_ms": ("first batch, ms", 1, False),
}
COMPRESSED = 0.97  # of the raw bytes


def run(settings: Settings, action: str, packages: Path | None) -> dict[str, Any]:
    """Measure one format in a fresh process, with another folder of packages first if given."""
    path = os.pathsep.join(map(str, [*([packages] if packages else []), Path.cwd()]))
    done = subprocess.run(
        [sys.executable, "-m", "bench.cache_way", json.dumps(asdict(settings)), action],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
    )
    answers = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not answers:
        raise click.ClickException(f"{settings.name}, {action}: failed\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(answers[-1])
    return found


def better(column: str, one: float, other: float) -> bool:
    return one > other if COLUMNS[column][2] else one < other


def best(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Of each column the best of the rounds."""
    found = dict(rounds[0])
    for column in COLUMNS:
        for other in rounds[1:]:
            if better(column, other[column], found[column]):
                found[column] = other[column]
    return found


def qualifies(row: dict[str, Any], raw: int) -> bool:
    """Whether a format compresses, and finds every flipped bit."""
    return row["bytes_per_region"] < COMPRESSED * raw and row["flips_silent"] == 0


def standing(rows: dict[str, dict[str, Any]], raw: int) -> str:
    """Say in which columns this cache is first among those that compress and check."""
    peers = {name: row for name, row in rows.items() if qualifies(row, raw)}
    ours = peers.pop("fdbpl")
    lost = {}
    for column, (head, _, _) in COLUMNS.items():
        ahead = [name for name, row in peers.items() if better(column, row[column], ours[column])]
        if ahead:
            lost[head] = ahead
    behind = "; ".join(f"{head} (ahead: {', '.join(names)})" for head, names in lost.items())
    return (
        "Besides this cache, these compress and find every flipped bit: "
        f"{', '.join(peers) or 'none'}. Among them it is first in every column"
        + (f" but {behind}." if lost else ".")
    )


def table(record: dict[str, Any]) -> str:
    """Return what goes between the page's markers."""
    about, rows = record["about"], record["formats"]
    heads = [head for head, _, _ in COLUMNS.values()]
    lines = [
        "| format | " + " | ".join(heads) + " | compresses | flipped bits found | order |",
        "| --- |" + " ---: |" * len(heads) + " --- | ---: | --- |",
    ]
    for name, row in rows.items():
        if "absent" in row:
            continue
        numbers = [f"{row[column]:,.{digits}f}" for column, (_, digits, _) in COLUMNS.items()]
        smaller = "yes" if row["bytes_per_region"] < COMPRESSED * about["raw"] else "no"
        changed = row["flips_found"] + row["flips_silent"]
        order = "any" if row["any_order"] else "its own"
        cells = [*numbers, smaller, f"{row['flips_found']} of {changed}", order]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    measured = {name: row for name, row in rows.items() if "absent" not in row}
    absent = [
        f"- {name} was not measured: {row['absent']}"
        for name, row in rows.items()
        if "absent" in row
    ]
    codec = record["codec"]
    return "\n".join(
        [
            f"{about['regions']:,} regions of {about['dim']} numbers in fp16, that is "
            f"{about['raw']:,} bytes, {about['crops']} of every image; batches of "
            f"{about['batch']}; {about['machine']}, one core, Python {about['python']}.",
            "",
            *lines,
            "",
            standing(measured, about["raw"]),
            "",
            *(f"- {name}: {row['how']}" for name, row in measured.items()),
            *absent,
            "",
            "Verified reading of one shard, beside zstd and the un-shuffle of the very same planes "
            f"alone ({codec['alone']:,.0f} MB/s): {codec['memory']:,.0f} MB/s from memory "
            f"({codec['memory'] / codec['alone']:.0%}), {codec['file']:,.0f} MB/s from a file "
            f"({codec['file'] / codec['alone']:.0%}).",
            "",
        ]
    )


@click.command()
@click.option("--regions", default=32000, show_default=True)
@click.option("--dim", default=1024, show_default=True)
@click.option("--crops", default=10, show_default=True, help="Regions of each image.")
@click.option("--batch", default=32, show_default=True)
@click.option("--rounds", default=2, show_default=True)
@click.option("--repeats", default=2, show_default=True, help="In each round's process.")
@click.option("--flips", default=32, show_default=True, help="Flipped bits, one at a time.")
@click.option("--core", default=0, show_default=True)
@click.option("--only", multiple=True, type=click.Choice(list(FORMATS)), help="These formats.")
@click.option("--mosaic", type=click.Path(exists=True, path_type=Path), help="Packages, see above.")
@click.option("--json", "path", type=click.Path(path_type=Path), required=True)
@click.option("--doc", is_flag=True, help="Write docs/cache-bench.md.")
def main(
    regions: int, dim: int, crops: int, batch: int, rounds: int, repeats: int, flips: int,
    core: int, only: tuple[str, ...], mosaic: Path | None, path: Path, doc: bool,
) -> None:  # fmt: skip
    """Measure every format, and say where this cache stands among them."""
    if regions % crops:
        raise click.UsageError(f"--regions {regions} is no multiple of --crops {crops}.")
    names = only or tuple(FORMATS)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "features.npy"
        np.save(source, unit_features(regions, dim))
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
        common = Settings("", str(source), f"{folder}/built", crops, batch, repeats, flips, core)
        for number in range(rounds):
            for name in names:
                packages = mosaic if name == Mosaic.name else None
                if number and "absent" in found[name][0]:
                    continue
                answer = run(replace(common, name=name), "measure", packages)
                found[name].append(answer)
                click.echo(f"{number + 1} of {rounds}: {name}: {json.dumps(answer)}", err=True)
        rows = {}
        for name, answers in found.items():
            rows[name] = answers[0]
            if "absent" not in answers[0]:
                packages = mosaic if name == Mosaic.name else None
                damage = run(replace(common, name=name), "flips", packages)
                rows[name] = {**best(answers), **damage}
        record = {
            "about": {
                "regions": regions, "dim": dim, "raw": 2 * dim, "crops": crops, "batch": batch,
                "machine": platform.machine(), "python": platform.python_version(),
            },
            "formats": rows,
            "codec": run(replace(common, name="fdbpl"), "codec", None),
        }  # fmt: skip
    write_whole(path, readable_json(record))
    click.echo(table(record))
    if doc:
        replace_block(DOC, "bench.cache", table(record))


if __name__ == "__main__":
    main()

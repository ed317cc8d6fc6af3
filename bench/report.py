"""Put measurements into the documentation: python -m bench.report step=steps.json encode=...

Each word is a section's name and a JSON file that the benchmark of that name wrote. Sections that
are not named stay as they are.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from bench import (
    cache,
    encode,
    end_to_end,
    finding,
    pixels,
    predict,
    serve,
    step,
    step_vision,
    strangers,
    train,
)
from fdbpl.cli.options import Command
from fdbpl.system.errors import UserError

SECTIONS: dict[str, Callable[[Any], str]] = {
    "step": step.section,
    "both_towers": step_vision.section,
    "train": train.section,
    "end_to_end": end_to_end.section,
    "encode": encode.section,
    "predict": predict.section,
    "serve": serve.section,
    "strangers": strangers.section,
    "cache": cache.section,
    "pixels": pixels.section,
}


@click.command(cls=Command)
@click.argument("words", nargs=-1, required=True, metavar="NAME=FILE...")
def main(words: tuple[str, ...]) -> None:
    """Put what benchmarks wrote, as JSON, into docs/performance.md, each in its section."""
    for word in words:
        name, _, path = word.partition("=")
        if name not in SECTIONS or not path:
            raise UserError(f"{word!r}, wanted NAME=FILE, NAME one of {', '.join(SECTIONS)}.")
        found = json.loads(Path(path).read_text(encoding="utf-8"))
        finding.put(name, f"\n{SECTIONS[name](found)}\n\n")


if __name__ == "__main__":
    main()

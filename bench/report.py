"""Put measurements into the documentation: python -m bench.report step=steps.json encode=...

Each word is a section's name and a JSON file that the benchmark of that name wrote. Sections that
are not named stay as they are.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import cache, encode, end_to_end, finding, step, train

SECTIONS: dict[str, Callable[[Any], str]] = {
    "step": step.section,
    "train": train.section,
    "end_to_end": end_to_end.section,
    "encode": encode.section,
    "cache": cache.section,
}


def main(words: list[str]) -> None:
    for word in words:
        name, _, path = word.partition("=")
        if name not in SECTIONS or not path:
            sys.exit(f"{word!r}: wanted NAME=FILE, NAME one of {', '.join(SECTIONS)}")
        found = json.loads(Path(path).read_text(encoding="utf-8"))
        finding.put(name, f"\n{SECTIONS[name](found)}\n\n")


if __name__ == "__main__":
    main(sys.argv[1:])

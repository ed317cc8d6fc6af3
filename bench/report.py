"""Put measurements into the documentation: python -m bench.report step=steps.json encode=...

Each word is a section's name and a JSON file that the benchmark of that name wrote. Sections that
are not named stay as they are.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import (
    budget,
    encode,
    end_to_end,
    finding,
    pipeline,
    scaling,
    schedule,
    step,
)

SECTIONS: dict[str, Callable[[Any], str]] = {
    "step": step.section,
    "budget": budget.section,
    "end_to_end": end_to_end.section,
    "schedule": schedule.section,
    "schedule_whole": schedule.section,
    "encode": encode.section,
    "scaling": scaling.section,
    "pipeline": pipeline.section,
}


def main(words: list[str]) -> None:
    for word in words:
        name, _, path = word.partition("=")
        if name not in SECTIONS or not path:
            sys.exit(f"{word!r}: wanted NAME=FILE, NAME one of {', '.join(SECTIONS)}")
        found = json.loads(Path(path).read_text(encoding="utf-8"))
        finding.put(name, SECTIONS[name](found))


if __name__ == "__main__":
    main(sys.argv[1:])

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
    development,
    encode,
    end_to_end,
    finding,
    new_classes,
    pipeline,
    scaling,
    schedule,
    step,
)

METHODS = Path("docs/methods.md")

SECTIONS: dict[str, Callable[[Any], str]] = {
    "step": step.section,
    "budget": budget.section,
    "end_to_end": end_to_end.section,
    "schedule": schedule.section,
    "schedule_whole": schedule.section,
    "encode": encode.section,
    "scaling": scaling.section,
    "pipeline": pipeline.section,
    "new_classes": new_classes.section,
    "tried": new_classes.section,
    "development": development.section,
}
OF_METHODS = ("new_classes", "tried", "development")
PAGES = dict.fromkeys(SECTIONS, finding.PAGE) | dict.fromkeys(OF_METHODS, METHODS)


def main(words: list[str]) -> None:
    for word in words:
        name, _, path = word.partition("=")
        if name not in SECTIONS or not path:
            sys.exit(f"{word!r}: wanted NAME=FILE, NAME one of {', '.join(SECTIONS)}")
        found = json.loads(Path(path).read_text(encoding="utf-8"))
        finding.put(name, SECTIONS[name](found), PAGES[name])


if __name__ == "__main__":
    main(sys.argv[1:])

"""Put what the demo printed into README.md: `python -m bench.readme`, after `make demo`."""

import json
from pathlib import Path

from fdbpl.files import write_whole
from fdbpl.reporting import averages_table

BEGIN, END = "<!-- demo:begin -->\n", "<!-- demo:end -->"


def main() -> None:
    comparison = json.loads(Path("metrics/compare.json").read_text(encoding="utf-8"))
    datasets = next(iter(comparison["methods"].values()))["datasets"]
    seeds = next(iter(datasets.values()))["seeds"]
    block = (
        f"Its averages over {len(datasets)} drawn datasets and {len(seeds)} seeds, in per cent; a\n"
        "table of every dataset follows them, and `metrics/compare.png` is its plot:\n\n"
        f"{averages_table(comparison)}\n"
    )
    readme = Path("README.md")
    before, rest = readme.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    write_whole(readme, f"{before}{BEGIN}{block}{END}{after}".encode())


if __name__ == "__main__":
    main()

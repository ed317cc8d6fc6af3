"""Put what the demo printed into README.md: `python -m bench.readme`, after `make demo`."""

import json
from pathlib import Path

from bench.blocks import replace_block
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
    replace_block(Path("README.md"), "demo", block)


if __name__ == "__main__":
    main()

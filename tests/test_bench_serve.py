"""What the benchmarks of the service say: ratios to its parts, and whether memory grows."""

from bench import serve, strangers

FOUND = {"command": "python -m bench.serve", "commit": "0123456", "machine": ["2 cores"]}


def row(tower: str, way: str, clients: int, rate: float) -> dict:
    return {"tower": tower, "way": way, "clients": clients, "p50": 1.0, "p99": 2.0, "rate": rate}


def test_a_section_compares_the_service_with_its_parts() -> None:
    said = serve.section(
        {
            **FOUND,
            "parts": {"decoder": 300.0, "encoder": 100.0, "limit": 75.0, "one_ms": 10.0},
            "int8": "half have the same class",
            "rows": [
                row("ONNX", "batched", 64, 60.0),
                row("torch", "one at a time", 64, 20.0),
            ],
        }
    )
    head, _, first, _ = (line for line in said.splitlines() if line.startswith("|"))
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in (head, first)]
    shown = dict(zip(*cells, strict=True))
    assert shown["of the encoder"] == "60%"
    assert shown["of the limit"] == "80%"
    assert shown["times torch, one at a time"] == "3.0"
    assert "8 bits: half have the same class." in said


def test_a_section_tells_memory_on_the_way() -> None:
    counts = {"good: right": 9, "a bomb: told": 1}
    said = strangers.section({**FOUND, "counts": counts, "memory_mb": [400.2, 400.4, 401.0]})
    assert "in MiB: 400, 400, 401." in said
    assert "| a bomb | told | 1 |" in said

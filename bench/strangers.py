"""Good and bad requests to `fdbpl serve`, all answers looked at: python -m bench.strangers

Every tenth request is bad: no image, half an image, a bomb of pixels, a wrong type, a form without
a file, another origin, a body too large, a sender who is slow, a connection that is cut. The others
send pictures whose answer is known. Told are good requests answered rightly, bad ones told why,
what else happened, and the server's memory on the way; at the end the server is asked to stop while
requests are on their way, and none of those may be lost.
"""

import asyncio
import io
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import psutil
from PIL import Image

from bench import finding
from bench.predict import made
from fdbpl.serving.make import save_model

GOOD = "good"
CLIENTS = 32


@dataclass(frozen=True)
class Ask:
    """A request and what it shall be answered by: a status, or None where it is cut."""

    kind: str
    head: str
    body: bytes
    status: int | None
    slow: bool = False


def picture(seed: int) -> bytes:
    """Return a small JPEG of noise."""
    noise = random.Random(seed).randbytes(48 * 36 * 3)
    file = io.BytesIO()
    Image.frombytes("RGB", (48, 36), noise).resize((96, 72)).save(file, "JPEG", quality=85)
    return file.getvalue()


def bomb() -> bytes:
    """Return a PNG of few bytes that says it has 30,000 x 30,000 pixels."""
    file = io.BytesIO()
    Image.new("RGB", (1, 1)).save(file, "PNG")
    data = bytearray(file.getvalue())
    data[16:24] = (30_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    return bytes(data)


def asks(pictures: list[bytes], number: int) -> Ask:
    """Return the request of a number: every tenth is bad, each kind in turn."""
    sound = pictures[number % len(pictures)]
    if number % 10:
        return Ask(GOOD, "Content-Type: image/jpeg", sound, 200)
    form = b"--x\r\nContent-Disposition: form-data; name=pictures\r\n\r\nword\r\n--x--\r\n"
    kinds = (
        Ask("no image", "Content-Type: image/png", b"hello", 422),
        Ask("half an image", "Content-Type: image/jpeg", sound[: len(sound) // 2], 422),
        Ask("a bomb", "Content-Type: image/png", bomb(), 422),
        Ask("a wrong type", "Content-Type: text/plain", sound, 415),
        Ask("a form without a file", "Content-Type: multipart/form-data; boundary=x", form, 400),
        Ask("another origin", "Content-Type: image/jpeg\r\nOrigin: http://other", sound, 403),
        Ask("too large", "Content-Type: image/jpeg", b"x" * 2_000_000, 413),
        Ask("a slow sender", "Content-Type: image/jpeg", sound, 200, slow=True),
        Ask("a cut connection", "Content-Type: image/jpeg", sound, None),
    )
    return kinds[number // 10 % len(kinds)]


async def answer(port: int, ask: Ask) -> tuple[int, Any]:
    """Send a request by a connection of its own; return the status and what was answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        head = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{ask.head}\r\n"
        writer.write(f"{head}Content-Length: {len(ask.body)}\r\n\r\n".encode())
        if ask.status is None:
            writer.write(ask.body[:100])
            return 0, None
        if ask.slow:
            for start in range(0, len(ask.body), 256):
                writer.write(ask.body[start : start + 256])
                await asyncio.sleep(0.01)
        else:
            writer.write(ask.body)
        whole = await reader.read()
        head, _, body = whole.partition(b"\r\n\r\n")
        return int(head.split()[1]), json.loads(body)
    finally:
        writer.close()


async def client(
    port: int, pictures: list[bytes], tops: list[Any], turns: Any, found: Counter[str]
) -> None:
    """Ask one request after another, and count what came of each kind."""
    for number in turns:
        ask = asks(pictures, number)
        try:
            status, said = await answer(port, ask)
        except (OSError, ValueError, IndexError) as error:
            # a server that refuses by the head alone may close before all of the body was sent
            fine = ask.status in (403, 413) and isinstance(error, ConnectionError)
            found[f"{ask.kind}: {'told' if fine else f'LOST {type(error).__name__}'}"] += 1
            continue
        if ask.status is None:
            found[f"{ask.kind}: cut"] += 1
        elif status != ask.status:
            found[f"{ask.kind}: WRONG status {status}"] += 1
        elif status != 200:
            found[f"{ask.kind}: {'told' if said.get('detail') else 'WRONG, not told why'}"] += 1
        else:
            right = same(said["top"], tops[number % len(pictures)])
            found[f"{ask.kind}: {'right' if right else 'WRONG'}"] += 1


def same(found: Any, wanted: Any) -> bool:
    """Tell whether the same class is the likeliest, and all probabilities are but for rounding."""
    told, known = dict(found), dict(wanted)
    near = all(abs(told.get(name, 0) - share) < 1e-4 for name, share in known.items())
    return bool(near and found[0][0] == wanted[0][0])


async def storm(port: int, pictures: list[bytes], tops: list[Any], numbers: range) -> Counter[str]:
    """Let clients send all requests."""
    found: Counter[str] = Counter()
    turns = iter(numbers)
    await asyncio.gather(*(client(port, pictures, tops, turns, found) for _ in range(CLIENTS)))
    return found


async def stop(
    process: "subprocess.Popen[str]", port: int, pictures: list[bytes], tops: list[Any]
) -> Counter[str]:
    """Ask, let the server stop meanwhile, and count what came of those requests."""
    found: Counter[str] = Counter()
    numbers = [number for number in range(1, 100) if number % 10]
    waiting = [asyncio.create_task(answer(port, asks(pictures, number))) for number in numbers]
    await asyncio.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    for number, done in zip(
        numbers, await asyncio.gather(*waiting, return_exceptions=True), strict=True
    ):
        if isinstance(done, ConnectionRefusedError | ConnectionResetError):
            found["stop: not taken"] += 1
        elif isinstance(done, BaseException):
            found[f"stop: LOST {type(done).__name__}"] += 1
        else:
            right = done[0] == 200 and same(done[1]["top"], tops[number % len(pictures)])
            found[f"stop: {'right' if right else f'WRONG status {done[0]}'}"] += 1
    return found


def memory(process: "subprocess.Popen[str]") -> float:
    """Return the memory of a process in MiB."""
    return psutil.Process(process.pid).memory_info().rss / 2**20


@click.command()
@click.option("--requests", "count", default=20_000, show_default=True)
@click.option("--json", "path", type=click.Path(path_type=Path), required=True)
def main(count: int, path: Path) -> None:
    """Send requests, good and bad; ends with exit code 1 where one was lost or answered wrongly."""
    pictures = [picture(seed) for seed in range(12)]
    with tempfile.TemporaryDirectory() as root:
        save_model(Path(root) / "model", made(), {})
        words = [sys.executable, "-m", "fdbpl", "serve", str(Path(root) / "model")]
        process = subprocess.Popen(
            [*words, "--port", "0", "--max-mb", "1"],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ},
        )
        assert process.stdout is not None
        port = int(process.stdout.readline().split("/   ")[0].rsplit(":", 1)[1])
        tops = [
            asyncio.run(_patient(port, Ask(GOOD, "Content-Type: image/jpeg", one, 200)))
            for one in pictures
        ]
        found, used = Counter[str](), []
        for tenth in range(10):
            numbers = range(count * tenth // 10, count * (tenth + 1) // 10)
            found += asyncio.run(storm(port, pictures, tops, numbers))
            used.append(memory(process))
        found += asyncio.run(stop(process, port, pictures, tops))
        code = process.wait()
    asked = {"requests": count}
    counts = dict(sorted(found.items()))
    more = {"counts": counts, "memory_mb": used, "exit_code": code}
    click.echo(section(finding.save(path, "strangers", asked, **more)))
    sys.exit(any("LOST" in kind or "WRONG" in kind for kind in counts))


def section(found: dict[str, Any]) -> str:
    """Return the table for docs/performance.md."""
    lines = [
        dict(zip(("kind", "what", "count"), (*kind.split(": "), number), strict=True))
        for kind, number in found["counts"].items()
    ]
    used = ", ".join(f"{one:.0f}" for one in found["memory_mb"])
    heads = {"kind": "request", "what": "answered", "count": "requests"}
    return (
        f"{finding.source(found)}\nThe server's memory after each tenth of them, in MiB: {used}."
        f"\n\n{finding.rows(heads, lines)}"
    )


async def _patient(port: int, ask: Ask) -> Any:
    for _ in range(100):
        try:
            return (await answer(port, ask))[1]["top"]
        except OSError:
            await asyncio.sleep(0.1)
    raise click.ClickException("the server does not answer")


if __name__ == "__main__":
    main()

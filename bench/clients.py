"""Clients of `fdbpl serve`: python -m bench.clients PORT FOLDER CLIENTS SECONDS

Each sends the bytes of a picture of the folder and waits for the answer before it sends the next.
Prints the seconds that every answer took, as JSON.
"""

import asyncio
import json
import sys
import time
from pathlib import Path

REQUEST = "POST /predict?top=1 HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"


async def client(port: int, picture: bytes, end: float, took: list[float]) -> None:
    """Ask again and again until a time; note how long each answer took."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    whole = f"{REQUEST}Content-Length: {len(picture)}\r\n\r\n".encode() + picture
    while time.perf_counter() < end:
        start = time.perf_counter()
        writer.write(whole)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            sys.exit(head.decode().splitlines()[0])
        length = head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]
        await reader.readexactly(int(length))
        took.append(time.perf_counter() - start)
    writer.close()


async def ask(port: int, folder: Path, clients: int, seconds: float) -> list[float]:
    """Let so many clients ask for so long; return the seconds of each answer."""
    took: list[float] = []
    files = sorted(folder.iterdir())
    data = [files[number % len(files)].read_bytes() for number in range(clients)]
    end = time.perf_counter() + seconds
    await asyncio.gather(*(client(port, one, end, took) for one in data))
    return took


if __name__ == "__main__":
    _, port, folder, clients, seconds = sys.argv
    print(json.dumps(asyncio.run(ask(int(port), Path(folder), int(clients), float(seconds)))))

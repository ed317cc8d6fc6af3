"""A hub on 127.0.0.1 with one repository: the few answers that fetching asks for."""

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

REPO = "someone/datasets"
COMMIT = "c0ffee" + 34 * "0"
LARGE = 1000
"""Bytes from which files are large files, known by their SHA-256."""


class Hub:
    """What the server holds, and what it was asked.

    Attributes:
        files: content by path in the repository.
        announced: digests to announce in place of the true ones, by path.
        asked: every request's method, path and Range.
        kind: "models" or "datasets".
    """

    def __init__(self, files: Mapping[str, bytes], kind: str = "models", licence: Any = "mit"):
        self.files = dict(files)
        self.announced: dict[str, str] = {}
        self.asked: list[tuple[str, str, str | None]] = []
        self.kind, self.licence = kind, licence
        self.url = ""

    def downloads(self) -> list[tuple[str, str | None]]:
        """Path and Range of each request for a file's content."""
        return [
            (path.split(f"{COMMIT}/")[1], span) for _, path, span in self.asked if "resolve" in path
        ]

    def about(self) -> dict[str, Any]:
        card = {} if self.licence is None else {"license": self.licence}
        return {"_id": "1", "id": REPO, "sha": COMMIT, "cardData": card, "siblings": [], "tags": []}

    def tree(self) -> list[dict[str, Any]]:
        return [self._entry(path, content) for path, content in self.files.items()]

    def _entry(self, path: str, content: bytes) -> dict[str, Any]:
        blob = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
        entry = {"type": "file", "path": path, "size": len(content), "oid": blob}
        digest = self.announced.get(path, hashlib.sha256(content).hexdigest())
        if len(content) >= LARGE:
            entry["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 134}
        return entry


@contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    """Run a hub's server while the block runs; `hub.url` is where."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, span = unquote(urlsplit(self.path).path), self.headers.get("Range")
            hub.asked.append((self.command, path, span))
            prefix = "" if hub.kind == "models" else "/datasets"
            api = f"/api/{hub.kind}/{REPO}"
            resolve = f"{prefix}/{REPO}/resolve/{COMMIT}/"
            if path == api:
                self._json(hub.about())
            elif path == f"{api}/tree/{COMMIT}":
                self._json(hub.tree())
            elif path.startswith(resolve) and path.removeprefix(resolve) in hub.files:
                self._content(hub.files[path.removeprefix(resolve)], span)
            else:
                self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})

        def _json(self, value: Any) -> None:
            self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

        def _content(self, content: bytes, span: str | None) -> None:
            if span is None:
                self._send(200, content, {})
                return
            start = int(span.removeprefix("bytes=").split("-")[0])
            where = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
            self._send(206, content[start:], where)

        def _send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

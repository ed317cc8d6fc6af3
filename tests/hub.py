"""A hub on 127.0.0.1 with one repository: the few answers that downloads and uploads ask for."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

REPO = "someone/datasets"
COMMIT = "c0ffee" + 34 * "0"
LARGE = 1500
"""Bytes from which files are large files, known by their SHA-256."""

Answer = tuple[int, bytes, Mapping[str, str]]
"""Status, body and headers."""

NONE: Answer = (404, b"{}", {"X-Error-Code": "RepoNotFound"})


class Hub:
    """What the server holds, and what it was asked.

    Attributes:
        announced: digests to announce in place of the true ones, by path.
        asked: every request's method, path and Range.
        authorizations: what each request gave as such.
        kind: "models" or "datasets".
        exists: whether there is the repository.
        private: whether it asks for the token.
        token: that is asked for by a private repository and whenever something is written.
        branches: the commit of each.
        contents: content by path in the repository, of each commit.
        large: content of large files that were uploaded, by digest.
        faults: what to answer in place of the truth, by the end of a path.
    """

    def __init__(self, files: Mapping[str, bytes], kind: str = "models", licence: Any = "mit"):
        self.announced: dict[str, str] = {}
        self.asked: list[tuple[str, str, str | None]] = []
        self.authorizations: list[str | None] = []
        self.kind, self.licence = kind, licence
        self.url = ""
        self.exists, self.private, self.token = True, False, "hf_secret"
        self.branches = {"main": COMMIT}
        self.contents = {COMMIT: dict(files)}
        self.large: dict[str, bytes] = {}
        self.faults: dict[str, Answer] = {}

    @property
    def files(self) -> dict[str, bytes]:
        """Content by path in the main branch."""
        return self.contents[self.branches["main"]]

    @files.setter
    def files(self, files: Mapping[str, bytes]) -> None:
        self.contents[self.branches["main"]] = dict(files)

    def downloads(self) -> list[tuple[str, str | None]]:
        """Path and Range of each request for a file's content."""
        found = [
            (re.search("resolve/[0-9a-f]{40}/(.*)", path), span) for _, path, span in self.asked
        ]
        return [(match[1], span) for match, span in found if match]

    def commit(self, branch: str, files: Mapping[str, bytes]) -> str:
        """Add files to a branch; return its new commit."""
        before = self.branches[branch]
        name = hashlib.sha1(f"{before}{sorted(files.items())}".encode()).hexdigest()
        self.contents[name] = {**self.contents[before], **files}
        self.branches[branch] = name
        return name

    def about(self, commit: str) -> dict[str, Any]:
        card = {} if self.licence is None else {"license": self.licence}
        told = {"_id": "1", "id": REPO, "sha": commit, "cardData": card, "private": self.private}
        return {**told, "siblings": [], "tags": []}

    def tree(self, commit: str = COMMIT) -> list[dict[str, Any]]:
        return [self._entry(path, content) for path, content in self.contents[commit].items()]

    def _entry(self, path: str, content: bytes) -> dict[str, Any]:
        entry = {"type": "file", "path": path, "size": len(content), "oid": blob(content)}
        digest = self.announced.get(path, hashlib.sha256(content).hexdigest())
        if len(content) >= LARGE:
            entry["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 134}
        return entry

    def read(self, path: str) -> Any:
        """Answer a GET by what becomes JSON, or by bytes; None where there is nothing."""
        prefix = "" if self.kind == "models" else "datasets/"
        found = re.fullmatch(rf"/api/{self.kind}/{REPO}(?:/(revision|tree)/(.+))?", path)
        if found and found[1] == "tree" and found[2] in self.contents:
            return self.tree(found[2])
        if found and found[1] != "tree":
            commit = self.branches.get(found[2] or "main", found[2])
            return self.about(commit) if commit in self.contents else None
        content = re.fullmatch(rf"/{prefix}{REPO}/resolve/([0-9a-f]{{40}})/(.+)", path)
        return self.contents.get(content[1], {}).get(content[2]) if content else None

    def write(self, path: str, body: bytes) -> Any:
        """Answer a POST or PUT by what becomes JSON; None where there is no such thing."""
        api = f"/api/models/{REPO}"
        answers: dict[str, Callable[[str, bytes], Any]] = {
            "/api/validate-yaml()": lambda _, body: {"errors": [], "warnings": []},
            "/api/repos/create()": self._create,
            f"{api}/branch/(.+)": self._branch,
            f"{api}/preupload/(.+)": self._preupload,
            rf"/{REPO}\.git/info/lfs/objects/batch()": self._batch,
            "/large/(.+)": self._large,
            f"{api}/commit/(.+)": self._commit,
        }
        for pattern, answer in answers.items():
            if found := re.fullmatch(pattern, path):
                return answer(found[1], body)
        return None

    def _create(self, _: str, body: bytes) -> Any:
        self.exists, self.private = True, json.loads(body)["visibility"] == "private"
        return {"url": f"{self.url}/{REPO}"}

    def _branch(self, name: str, _: bytes) -> Any:
        self.branches.setdefault(name, self.branches["main"])
        return {}

    def _preupload(self, branch: str, body: bytes) -> Any:
        return {"files": [self._mode(branch, one) for one in json.loads(body)["files"]]}

    def _batch(self, _: str, body: bytes) -> Any:
        wanted = json.loads(body)["objects"]
        for one in wanted:
            one["actions"] = {"upload": {"href": f"{self.url}/large/{one['oid']}"}}
        return {"objects": wanted, "transfer": "basic"}

    def _large(self, digest: str, body: bytes) -> Any:
        self.large[digest] = body
        return {}

    def _commit(self, branch: str, body: bytes) -> Any:
        name = self.commit(branch, self._committed(body))
        return {"commitUrl": f"{self.url}/{REPO}/commit/{name}", "commitOid": name}

    def _mode(self, branch: str, file: Mapping[str, Any]) -> dict[str, Any]:
        large, there = file["size"] >= LARGE, self.contents[self.branches[branch]].get(file["path"])
        told = {"path": file["path"], "uploadMode": "lfs" if large else "regular"}
        known = hashlib.sha256(there or b"").hexdigest() if large else blob(there or b"")
        return {**told, "shouldIgnore": False, "oid": None if there is None else known}

    def _committed(self, body: bytes) -> dict[str, bytes]:
        files = {}
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            if line["key"] == "lfsFile":
                files[line["value"]["path"]] = self.large[line["value"]["oid"]]
        return files


def blob(content: bytes) -> str:
    """The digest by which git knows a content."""
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


@contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    """Run a hub's server while the block runs; `hub.url` is where."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, span = self._asked()
            if hub.exists and not (hub.private and self._is_stranger()):
                self._answer(path, hub.read(path), span)
            else:
                self._send(*NONE)

        def do_POST(self) -> None:
            path, _ = self._asked()
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            # where large files go is signed by the address, and is another server in truth
            if self._is_stranger() and not path.startswith("/large/"):
                self._send(401, b'{"error": "Invalid username or password."}', {})
            else:
                self._answer(path, hub.write(path, body), None)

        do_PUT = do_POST  # noqa: N815

        def _is_stranger(self) -> bool:
            return self.headers.get("Authorization") != f"Bearer {hub.token}"

        def _asked(self) -> tuple[str, str | None]:
            path, span = unquote(urlsplit(self.path).path), self.headers.get("Range")
            hub.asked.append((self.command, path, span))
            hub.authorizations.append(self.headers.get("Authorization"))
            return path, span

        def _answer(self, path: str, value: Any, span: str | None) -> None:
            fault = next((one for end, one in hub.faults.items() if path.endswith(end)), None)
            if fault is not None:
                self._send(*fault)
            elif value is None:
                code = "RevisionNotFound" if "/revision/" in path else "RepoNotFound"
                self._send(404, b"{}", {"X-Error-Code": code})
            elif isinstance(value, bytes):
                self._content(value, span)
            else:
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

"""Serve a folder of schema documents by the ontology protocol.

The folder has a file `{id}/{version}.json` for each version, as a repository of an organisation
may have: a merge publishes.

    python -m examples.ontology schemas --port 8090
"""

import argparse
import hashlib
import json
import re
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_PATH = re.compile(r"/schemas(?:/([a-z][a-z0-9_]{0,62})(?:(/versions)(?:/(0|[1-9][0-9]{0,9}))?)?)?")
MAX_AGE_S = 60


class OntologyHandler(BaseHTTPRequestHandler):
    """Handler of the protocol's four reads, and of its health check."""

    def __init__(self, folder: Path, *arguments: object) -> None:
        self._folder = folder
        super().__init__(*arguments)  # type: ignore[arg-type]  # of socketserver

    def do_GET(self) -> None:
        """Send a document, a list or 404."""
        if self.path == "/health":
            self._send(200, b'{"status": "ok"}')
            return
        match = _PATH.fullmatch(self.path)
        document = self._find(*match.groups()) if match else None
        if document is None:
            self._send(404, b'{"title": "Not Found", "status": 404}')
        else:
            self._send(200, document)

    def log_message(self, *_: object) -> None:
        """Write no line for a request."""

    def _find(
        self, schema_id: str | None, versions: str | None, number: str | None
    ) -> bytes | None:
        if schema_id is None:
            ids = sorted(path.name for path in self._folder.iterdir() if path.is_dir())
            return json.dumps({"schemas": [self._describe(one) for one in ids]}).encode()
        numbers = self._list_numbers(schema_id)
        if not numbers:
            return None
        if versions and number is None:
            entries = [{"version": one} for one in numbers]
            return json.dumps({"id": schema_id, "versions": entries}).encode()
        version = numbers[-1] if number is None else int(number)
        return self._path(schema_id, version).read_bytes() if version in numbers else None

    def _describe(self, schema_id: str) -> dict[str, object]:
        latest = self._list_numbers(schema_id)[-1]
        title = json.loads(self._path(schema_id, latest).read_bytes()).get("name", schema_id)
        return {"id": schema_id, "title": title, "latest_version": latest}

    def _list_numbers(self, schema_id: str) -> list[int]:
        files = (self._folder / schema_id).glob("*.json")
        return sorted(int(path.stem) for path in files if path.stem.isdecimal())

    def _path(self, schema_id: str, version: int) -> Path:
        return self._folder / schema_id / f"{version}.json"

    def _send(self, status: int, body: bytes) -> None:
        tag = f'"{hashlib.sha256(body).hexdigest()}"'
        if status == 200 and self.headers.get("If-None-Match") == tag:
            status, body = 304, b""
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", tag)
        self.send_header("Cache-Control", f"max-age={MAX_AGE_S}")
        self.end_headers()
        self.wfile.write(body)


def build_server(folder: Path, port: int) -> ThreadingHTTPServer:
    """Return a server of the folder on a loopback port; 0 takes a free one."""
    return ThreadingHTTPServer(("127.0.0.1", port), partial(OntologyHandler, folder))


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(prog="ontology", description="Serve schema documents.")
    parser.add_argument("folder", type=Path, help="folder of {id}/{version}.json")
    parser.add_argument("--port", type=int, default=8090)
    options = parser.parse_args()
    build_server(options.folder, options.port).serve_forever()


if __name__ == "__main__":
    main()

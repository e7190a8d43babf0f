"""A real server that speaks S3 on loopback, and a proxy in front of it that can fail.

The server has an environment of its own (`make .venv-s3/stamp`), because its packages are many and
none is the service's.
"""

import http.client
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final, NoReturn, Self

import pytest
import tenacity
from tests.loopback import free_port

from spawn.adapters.archives.bucket_archive import BucketArchive

PYTHON: Final = Path(__file__).parents[3] / ".venv-s3" / "bin" / "python"
BUCKET: Final = "spawn-backups"
SECRET: Final = "canary-secret-access-key-0123456789"  # noqa: S105 -- of no server


def skip_or_fail(reason: str) -> NoReturn:
    """Skip the test loudly on a person's machine, and fail it in CI."""
    if os.environ.get("CI"):
        pytest.fail(f"{reason}, and CI must run these tests")
    pytest.skip(f"NOT TESTED: {reason}")


def environ_of(port: int, **others: str) -> dict[str, str]:
    """Return the variables by which a client finds a server on loopback."""
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "eu-central-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        **others,
    }


@contextmanager
def serve_s3(folder: Path) -> Iterator[int]:
    """Yield the port of a running server with an empty bucket."""
    if not PYTHON.exists():
        skip_or_fail("the S3 server is not installed (make .venv-s3/stamp)")
    port = free_port()
    with (folder / "s3.log").open("wb") as log:
        process = subprocess.Popen(
            [PYTHON, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            cwd=folder,
            env={"PATH": os.environ["PATH"], "HOME": str(folder)},
            stdout=log,
            stderr=log,
        )
        try:
            _create_bucket(port)
            yield port
        finally:
            process.terminate()
            process.wait(timeout=30)


@tenacity.retry(
    retry=tenacity.retry_if_exception_type(OSError),
    stop=tenacity.stop_after_delay(60),
    wait=tenacity.wait_fixed(0.1),
    reraise=True,
)
def _create_bucket(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    body = (
        '<CreateBucketConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        "<LocationConstraint>eu-central-1</LocationConstraint></CreateBucketConfiguration>"
    )
    credential = "Credential=AKIAEXAMPLE/20260101/eu-central-1/s3/aws4_request"
    headers = {"Authorization": f"AWS4-HMAC-SHA256 {credential}, SignedHeaders=host, Signature=0"}
    connection.request("PUT", f"/{BUCKET}", body, headers)
    response = connection.getresponse()
    assert response.status == 200, response.read()
    connection.close()


Fault = Callable[[str, str], int | None]
"""Given method and path: the status to respond without the server, None to ask the server."""


class FailingProxy:
    """Proxy before a server. `fault` decides before a request, `lose` after its response.

    `drops_conditions` removes the conditions of writes, as a server that does not know them. With
    a `lock` the server has one request at a time.
    """

    def __init__(self, server_port: int) -> None:
        self.fault: Fault = lambda _method, _path: None
        self.lose: Callable[[str, str], bool] = lambda _method, _path: False
        self.code = "SlowDown"
        self.drops_conditions = False
        self.requests: list[tuple[str, str]] = []
        self.received = b""
        self.lock: AbstractContextManager[object] = nullcontext()
        self._server_port = server_port
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def port(self) -> int:
        """Port of the proxy."""
        return int(self._server.server_address[1])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def handle_any(self) -> None:
                proxy.respond(self)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def respond(self, handler: BaseHTTPRequestHandler) -> None:
        """Respond to one request."""
        method, path = handler.command, handler.path
        self.requests.append((method, path))
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        status = self.fault(method, path)
        if status is not None:
            text = f"<Error><Code>{self.code}</Code><Message>{SECRET}</Message></Error>".encode()
            self._send(handler, status, {}, text)
            return
        with self.lock:
            status, headers, content = self._ask_server(handler, body)
        if self.lose(method, path):
            handler.close_connection = True
            handler.connection.close()
            return
        self._send(handler, status, headers, content)

    def _ask_server(
        self, handler: BaseHTTPRequestHandler, body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        headers = {
            name: value
            for name, value in handler.headers.items()
            if not (self.drops_conditions and name.lower() in {"if-none-match", "if-match"})
        }
        connection = http.client.HTTPConnection("127.0.0.1", self._server_port, timeout=60)
        connection.request(handler.command, handler.path, body, headers)
        response = connection.getresponse()
        content = response.read()
        connection.close()
        self.received += body
        return response.status, dict(response.getheaders()), content

    def _send(
        self, handler: BaseHTTPRequestHandler, status: int, headers: dict[str, str], content: bytes
    ) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            if name.lower() not in {"connection", "transfer-encoding", "date", "server"}:
                handler.send_header(name, value)
        if not any(name.lower() == "content-length" for name in headers):
            handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(content)


def open_bucket(port: int, prefix: str, **others: str) -> BucketArchive:
    """Return an archive below a prefix of the bucket."""
    return BucketArchive(BUCKET, prefix, environ_of(port, **others))

"""Webhook receiver in its own thread, with scripted responses; it can be stopped."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from standardwebhooks import Webhook
from tests.loopback import free_port

SECRET = "whsec_" + "b2xk" * 8
Event = dict[str, Any]


class WebhookSink:
    """Webhook receiver that records accepted events in order and verifies signatures."""

    def __init__(self, folder: Path) -> None:
        self._secrets = folder / "secrets"
        self._secrets.write_text(SECRET)
        self._port = free_port()
        self.respond: Callable[[Event], int] = lambda _event: 204
        self.events: list[Event] = []
        self._server: ThreadingHTTPServer | None = None
        self.changed = threading.Condition()

    def settings(self) -> dict[str, str]:
        """Return the settings that direct a service's events here."""
        return {
            "SPAWN_EVENTS_URL": f"http://127.0.0.1:{self._port}/hooks#name=sink&start=oldest",
            "SPAWN_WEBHOOK_SECRETS_FILE": str(self._secrets),
            "SPAWN_WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8",
        }

    def open(self) -> "WebhookSink":
        """Start to listen."""
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), self._handler())
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def close(self) -> None:
        """Stop to listen."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def wait(self, condition: Callable[[list[Event]], bool], timeout_s: float = 60) -> None:
        """Wait until the received events satisfy the condition."""
        with self.changed:
            is_met = self.changed.wait_for(lambda: condition(self.events), timeout_s)
            assert is_met, f"{len(self.events)} events came"

    def versions(self) -> dict[str, list[int]]:
        """Return the versions of each project in the order of first arrival."""
        versions: dict[str, list[int]] = {}
        for event in {event["id"]: event for event in self.events}.values():
            versions.setdefault(event["subject"], []).append(int(event["sequence"]))
        return versions

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        sink = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                Webhook(SECRET).verify(body, dict(self.headers.items()))
                event = json.loads(body)
                status = sink.respond(event)
                with sink.changed:
                    if status < 300:
                        sink.events.append(event)
                    sink.changed.notify_all()
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                return

        return Handler

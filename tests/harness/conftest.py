"""What a test suite needs once: the mock as a process, and a company of its own for each test."""

import os
import pathlib
import subprocess
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests


class Mock:
    """The mock, as this test's company sees it."""

    def __init__(self, url):
        self.url = url
        self.company = f"test-{uuid.uuid4().hex[:12]}"

    def register(self, url, **event_processed):
        answer = requests.post(
            f"{self.url}/companies/{self.company}/config/callbacks",
            json={
                "callback_type": "event_processed",
                "event_processed": event_processed,
                "destination": {"url": url},
            },
            auth=("user", "password"),
        )
        assert answer.status_code == 201, answer.text
        return answer.json()["callback_id"]

    def post_event(self, event_type, event_data, **more):
        answer = requests.post(
            f"{self.url}/companies/{self.company}/events",
            json={"event_type": event_type, "event_data": event_data, **more},
            auth=("user", "password"),
        )
        assert answer.status_code == 202, answer.text
        return answer.json()["event_id"]

    def advance(self, **how):
        answer = requests.post(f"{self.url}/_mock/clock/advance", json=how)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def deliveries(self, **which):
        answer = requests.get(
            f"{self.url}/_mock/deliveries", params={"company_key": self.company, **which}
        )
        assert answer.status_code == 200, answer.text
        return answer.json()["deliveries"]

    def forget(self):
        requests.delete(f"{self.url}/_mock/companies/{self.company}")


@pytest.fixture(scope="session")
def mock_url(tmp_path_factory):
    """Starts the mock once, with a clock that only tests move."""
    port_file = tmp_path_factory.mktemp("mock") / "port"
    program = os.environ.get("VIBES_MOCK", "vibes-mock")
    process = subprocess.Popen(
        [program, "serve", "--clock", "virtual", "--port", "0", "--port-file", str(port_file)]
    )
    try:
        for _ in range(500):
            if port_file.exists():
                break
            assert process.poll() is None, "the mock did not start"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{int(port_file.read_text())}"
    finally:
        process.terminate()
        process.wait(timeout=20)
        assert not pathlib.Path(port_file).exists()


@pytest.fixture
def mock(mock_url):
    mock = Mock(mock_url)
    yield mock
    mock.forget()


class Shop:
    """The program under test; here a few lines that keep what became of each order."""

    def __init__(self):
        self.answers = []  # statuses to answer with first; then 200
        self.orders = {}
        shop = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = shop.answers.pop(0) if shop.answers else 200
                if status == 200:
                    shop.callback(requests.compat.json.loads(body))
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/callbacks"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def callback(self, body):
        event = body["event_processed"]
        order = event["event_data"].get("order_id")
        self.orders.setdefault(order, []).append(event["action"]["status_reason"])


@pytest.fixture
def shop():
    shop = Shop()
    yield shop
    shop.server.shutdown()

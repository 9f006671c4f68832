"""`seesay serve` as a process: where it listens, what it refuses, how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from conftest import Cli, without_packages
from serving import error_of, httpx, in_base64, picture

from seesay.serve.run import Place

PHOTO = {"photos": [in_base64(picture())]}


@contextmanager
def process(*arguments: str | Path, **environment: str) -> Iterator[tuple[subprocess.Popen, str]]:
    """A server of its own, once it says its address."""
    command = [sys.executable, "-m", "seesay", "serve", "--port", "0", *map(str, arguments)]
    environment = {**os.environ, **environment}
    started = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        assert started.stderr
        line = started.stderr.readline()
        found = re.search(r"http://[^\s\"]+", line)
        assert found, line + started.stderr.read()
        yield started, found[0]
    finally:
        started.kill()
        started.communicate()


def wait_until_up(url: str) -> None:
    for _ in range(600):
        try:
            httpx.get(f"{url}health", timeout=30)
            return
        except httpx.ConnectError:
            time.sleep(0.05)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_server_from_start_to_end(tiny_bundle: Path, how: signal.Signals) -> None:
    with process("--model", tiny_bundle, "--log-json") as (server, url):
        wait_until_up(url)
        answer = httpx.post(f"{url}v1/captions", json=PHOTO, timeout=60)
        assert answer.status_code == 200 and "uvicorn" not in str(answer.headers)
        server.send_signal(how)
        _, log = server.communicate(timeout=60)
    assert server.returncode == 0
    entries = [json.loads(line) for line in log.splitlines()]
    assert entries[-1]["path"] == "/v1/captions" and entries[-1]["status"] == 200


def test_a_second_interrupt_stops_it_at_once(tiny_bundle: Path) -> None:
    """The first one waits for a body that does not come."""
    with process("--model", tiny_bundle) as (server, url):
        wait_until_up(url)
        with socket.create_connection(("127.0.0.1", urlsplit(url).port)) as slow:
            slow.sendall(b"POST /v1/captions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n")
            slow.sendall(b"Content-Length: 1000\r\n\r\n{")
            time.sleep(0.3)
            server.send_signal(signal.SIGINT)
            with pytest.raises(subprocess.TimeoutExpired):
                server.wait(1)
            server.send_signal(signal.SIGINT)
            _, log = server.communicate(timeout=30)
    assert server.returncode == -signal.SIGINT and "Traceback" not in log


def test_the_token_comes_from_the_environment_and_is_not_logged(tiny_bundle: Path) -> None:
    with process("--model", tiny_bundle, SEESAY_TOKEN="s3cret") as (server, url):
        wait_until_up(url)
        assert error_of(httpx.get(f"{url}v1/models"))[:2] == (401, "token")
        server.send_signal(signal.SIGTERM)
        assert "s3cret" not in url + server.communicate(timeout=60)[1]


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("::1234", False), ("0.0.0.0", False), ("::", False)],
)
def test_which_addresses_only_this_machine_reaches(host: str, loopback: bool) -> None:
    assert Place(host).is_loopback == loopback


def resident(server: subprocess.Popen) -> int:
    """Megabytes of memory of a process."""
    status = Path(f"/proc/{server.pid}/status").read_text("utf-8")
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) // 1024  # pyright: ignore


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_a_crowd_gets_captions_or_is_asked_to_wait_and_memory_stays(tiny_bundle: Path) -> None:
    """32 clients at a queue for 8; each sends its next photo once it has an answer."""
    statuses: Counter[int] = Counter()
    end = threading.Event()

    def client() -> None:
        with httpx.Client(timeout=60) as asking:
            while not end.is_set():
                statuses[asking.post(f"{url}v1/captions", json=PHOTO).status_code] += 1

    with process("--model", tiny_bundle, "--max-photos", "1", "--queue", "8") as (server, url):
        assert server.stderr
        threads = [threading.Thread(target=server.stderr.read), *(threading.Thread(target=client) for _ in range(32))]
        for thread in threads:
            thread.start()
        time.sleep(5)
        before = resident(server)
        time.sleep(15)
        after = resident(server)
        end.set()
        for thread in threads[1:]:
            thread.join()
        server.terminate()
        threads[0].join()
    assert set(statuses) <= {200, 429, 503} and statuses[200] > 100 and statuses[429] > 0
    assert after < 1.1 * before + 10


def without_fastapi(arguments: list[str]) -> str:
    """A script that runs `seesay ARGUMENTS` and prints which modules of the server it loaded."""
    return f"""
{without_packages("fastapi")}
sys.argv = ["seesay", *{arguments!r}]
from seesay.cli import main
try:
    main()
finally:
    print(sorted(name for name in sys.modules if name.startswith(("seesay.serve", "seesay.cli.serve"))))
"""


@pytest.mark.parametrize("command", ["--help", "caption"])
def test_other_commands_need_nothing_of_the_server(command: str, tiny_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(picture())
    arguments = [command] if command == "--help" else [command, "a.jpg", "--model", str(tiny_bundle)]
    code = without_fastapi(arguments)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.endswith("[]\n"), done.stderr


@pytest.mark.parametrize("arguments", [["serve"], ["demo", "--serve"]])
def test_without_the_extra_one_line_says_what_to_install(arguments: list[str]) -> None:
    done = subprocess.run([sys.executable, "-c", without_fastapi(arguments)], capture_output=True, text=True)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert f"seesay {' '.join(arguments)} needs '" in done.stderr and "pip install 'seesay[serve]'" in done.stderr


def test_strangers_are_not_let_in_by_mistake(cli: Cli) -> None:
    refused = cli("serve", "--host", "0.0.0.0")
    assert refused.code == 1
    assert "--token" in refused.err and "--insecure" in refused.err


def test_what_cannot_be_is_said(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        busy = cli("serve", "--port", port)
    assert busy.code == 1 and "--port 0 picks a free one" in busy.err
    assert "no such host" in cli("serve", "--host", "no..host").err
    assert "--token" in cli("serve", "--token", "two words").err
    assert "--allow-origin" in cli("serve", "--allow-origin", "example.org").err
    assert "no-such-model" in cli("serve", "--model", "no-such-model").err

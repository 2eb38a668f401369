"""What a user sees: the report, live, and queries."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http.cookiejar import CookieJar
from pathlib import Path

import pytest
from werkzeug.test import Client

from orchestrator.errors import StoreError, SweepError
from orchestrator.serving import live
from orchestrator.serving.live import Kept, LiveReport, make_report, store_version
from orchestrator.serving.server import open_server


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.stat().st_size)
        for path in folder.rglob("*")
        if path.is_file()
    }


def eventually(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_page_shows_progress_and_the_report(browser: Client) -> None:
    page = browser.get("/")
    assert page.status_code == 200
    assert "smoke" in page.text
    assert "8 ok" in page.text
    assert 'src="/report"' in page.text
    assert "the report of" in browser.get("/report").text
    assert browser.get("/status").headers["Isoflop-Report"] == browser.get("/report").headers["Isoflop-Report"]


def test_head_is_answered_without_a_body(browser: Client) -> None:
    answer = browser.head("/report")
    assert answer.status_code == 200
    assert answer.text == ""


def test_a_query_is_answered_as_a_table(browser: Client) -> None:
    answer = browser.post("/sql", data={"sql": "select budget, count(*) as n from runs group by 1 order by 1"})
    assert "2 rows" in answer.text
    assert "<td>1e+09</td><td>4</td>" in answer.text
    assert "select budget" in browser.get("/sql").text


def test_serving_writes_nothing_to_the_store(small_store: Path, browser: Client) -> None:
    before = snapshot(small_store)
    for path in ("/", "/status", "/sql"):
        assert browser.get(path).status_code == 200
    assert browser.post("/sql", data={"sql": "select * from runs join curves using (run_id)"}).status_code == 200
    assert b"smoke" in make_report(str(small_store))
    assert snapshot(small_store) == before


def test_a_report_is_made_again_when_something_was_committed(
    small_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "LEAST_SECONDS", 0.0)
    store = tmp_path / "store"
    shutil.copytree(small_store, store)
    made: list[str] = []

    def make(location: str) -> bytes:
        made.append(location)
        return str(len(made)).encode()

    report = LiveReport(str(store), make)
    assert report.page().html == b"1"
    before = report.version
    for _ in range(5):
        report.page()
    eventually(lambda: not report._working.locked())
    assert len(made) == 1
    (store / "commits/ffff.json").write_text("{}")
    assert store_version(str(store)) != before
    eventually(lambda: report.version == store_version(str(store)))
    assert report.page().html == b"2"


def test_one_report_is_made_for_many_readers(small_store: Path) -> None:
    made: list[str] = []
    release = threading.Event()

    def make(location: str) -> bytes:
        made.append(location)
        release.wait(30)
        return b"page"

    report = LiveReport(str(small_store), make)
    readers = [threading.Thread(target=report.page) for _ in range(4)]
    for reader in readers:
        reader.start()
    eventually(lambda: bool(made))
    release.set()
    for reader in readers:
        reader.join(30)
    assert len(made) == 1


def test_progress_is_kept_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = iter(range(10))
    kept = Kept(lambda: next(numbers))
    assert [kept.value(), kept.value()] == [0, 0]
    monkeypatch.setattr(live, "KEPT_SECONDS", 0.0)
    other = Kept(lambda: next(numbers))
    assert other.value() != kept.value()


def test_a_browser_opens_the_printed_url(small_store: Path) -> None:
    server = open_server(str(small_store))
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
        with opener.open(server.url, timeout=30) as page:
            assert page.url == f"http://127.0.0.1:{server.port}/"
            assert "smoke" in page.read().decode()
            assert page.headers["Server"] == "isoflop"
        with opener.open(f"http://127.0.0.1:{server.port}/live.js", timeout=30) as script:
            assert script.headers["Content-Type"].startswith("text/javascript")
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"http://127.0.0.1:{server.port}/", timeout=30)
    finally:
        server.stop()
        thread.join(30)
        server.close()


def test_a_port_that_is_taken_and_a_folder_that_is_no_store_are_named(small_store: Path, tmp_path: Path) -> None:
    server = open_server(str(small_store))
    with pytest.raises(SweepError, match=f"port {server.port} cannot be had"):
        open_server(str(small_store), server.port)
    server.close()
    with pytest.raises(StoreError, match="not a store"):
        open_server(str(tmp_path))


def test_tokens_are_long_and_never_the_same(small_store: Path) -> None:
    servers = [open_server(str(small_store)) for _ in range(2)]
    tokens = {server.url.partition("token=")[2] for server in servers}
    assert len(tokens) == 2
    assert min(map(len, tokens)) >= 43  # 32 bytes
    for server in servers:
        server.close()


def test_serving_needs_neither_torch_nor_ray() -> None:
    code = "import sys; from orchestrator.serving import server; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "ray", "optuna", "matplotlib"} & set(done.stdout.split())

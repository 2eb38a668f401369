"""What somebody else on the machine, another web page, or a hostile store could try."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from werkzeug.test import Client

from analysis import write_report
from orchestrator.serving.guard import LARGEST_BODY
from orchestrator.serving.live import LiveReport
from orchestrator.serving.sql import ROWS, Queries

from .conftest import COOKIE, TOKEN, site_of

PATHS = ("/", "/status", "/report", "/sql", "/live.js", "/nothing")
HOSTILE = "<script>alert(1)</script>"


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "given", ["", "?token=", "?token=wrong", "?token=%C3%A4", f"?token={TOKEN}x", f"?token={TOKEN[:-1]}"]
)
def test_nothing_answers_without_the_token(stranger: Client, path: str, given: str) -> None:
    answer = stranger.get(path + given)
    assert answer.status_code == 401
    assert TOKEN not in answer.text
    assert "the report of" not in answer.text
    assert "Set-Cookie" not in answer.headers


def test_a_form_without_the_token_is_refused(stranger: Client) -> None:
    assert stranger.post("/sql", data={"sql": "select 1"}).status_code == 401


def test_another_cookie_is_no_token(stranger: Client) -> None:
    stranger.set_cookie(COOKIE, "guess")
    assert stranger.get("/").status_code == 401
    stranger.set_cookie("isoflop-999", TOKEN)
    assert stranger.get("/").status_code == 401


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil.example", "[::1", "10.0.0.1"]
)
def test_a_page_that_was_rebound_to_this_machine_is_refused(browser: Client, host: str) -> None:
    for path in PATHS:
        assert browser.get(f"{path}?token={TOKEN}", headers={"Host": host}).status_code == 400


@pytest.mark.parametrize("host", ["127.0.0.1:9000", "localhost", "localhost:1"])
def test_a_tunnel_may_have_another_port(stranger: Client, host: str) -> None:
    assert stranger.get(f"/?token={TOKEN}", headers={"Host": host}).status_code == 303


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:8000"])
def test_the_form_of_another_page_is_refused(browser: Client, origin: str) -> None:
    answer = browser.post("/sql", data={"sql": "select 1"}, headers={"Origin": origin})
    assert answer.status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        "/../store.json",
        "/..%2fstore.json",
        "/%2e%2e/%2e%2e/etc/passwd",
        "//etc/passwd",
        "/report/../../store.json",
        "/store.json",
        "/live.js/../../templates/sql.html.j2",
        "/file:///etc/passwd",
        "/report%00.html",
    ],
)
def test_no_path_leads_to_a_file(browser: Client, path: str) -> None:
    answer = browser.get(path)
    assert answer.status_code == 404
    assert "nonce" not in answer.text
    assert "root:" not in answer.text


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "POST", "OPTIONS", "TRACE"])
def test_nothing_can_be_changed(browser: Client, method: str) -> None:
    assert browser.open("/report", method=method).status_code == 405


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_forbids_what_it_does_not_need(browser: Client, stranger: Client, path: str) -> None:
    for answer in (browser.get(path), Client(stranger.application).get(path)):
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert "unsafe-eval" not in answer.headers["Content-Security-Policy"]
        assert "script-src 'unsafe-inline'" not in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_the_report_runs_no_script_and_is_framed_by_us_alone(browser: Client) -> None:
    policy = browser.get("/report").headers["Content-Security-Policy"]
    assert "script-src" not in policy
    assert "sandbox allow-same-origin" in policy
    assert "frame-ancestors 'self'" in policy
    assert "frame-ancestors 'none'" in browser.get("/").headers["Content-Security-Policy"]


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(stranger: Client) -> None:
    answer = stranger.get(f"/sql?token={TOKEN}")
    assert answer.headers["Location"] == "/sql"
    assert "HttpOnly" in answer.headers["Set-Cookie"]
    assert "SameSite=Strict" in answer.headers["Set-Cookie"]


@pytest.mark.parametrize(
    "sql",
    [
        "select * from read_text('/etc/passwd')",
        "select * from '/etc/passwd'",
        "select * from glob('/*')",
        "copy runs to '/tmp/stolen.csv'",
        "select 1; drop view runs",
        "attach '/tmp/x.db'",
        "set enable_external_access=true",
        "select * from read_csv('http://127.0.0.1/')",
        "install httpfs",
    ],
)
def test_sql_reads_and_writes_no_file(browser: Client, sql: str) -> None:
    answer = browser.post("/sql", data={"sql": sql})
    assert 'class="error"' in answer.text
    assert "root:" not in answer.text


def test_a_slow_query_is_ended(small_store: Path) -> None:
    started = time.monotonic()
    answer = Queries(str(small_store), seconds=2).run("select count(*) from range(1000000000000) a")
    assert "more than 2 s" in (answer.error or "") or "died" in (answer.error or "")
    assert time.monotonic() - started < 60


def test_a_large_query_is_cut(small_store: Path) -> None:
    queries = Queries(str(small_store))
    rows = queries.run("select range, repeat('x', 100000) from range(100000)")
    assert len(rows.rows) == ROWS
    assert rows.more
    assert max(len(cell) for row in rows.rows for cell in row) < 1000
    memory = queries.run("select string_agg(repeat('a', 1000000)) from range(100000)")
    assert "Out of Memory" in (memory.error or "") or "died" in (memory.error or "")


def test_queries_do_not_pile_up(small_store: Path) -> None:
    queries = Queries(str(small_store))
    queries._free.acquire()
    queries._free.acquire()
    assert "queries are running" in (queries.run("select 1").error or "")
    queries._free.release()
    assert queries.run("select 1").rows == (("1",),)


def test_a_body_without_end_is_refused(browser: Client) -> None:
    assert browser.post("/sql", data={"sql": "x" * (LARGEST_BODY + 1)}).status_code == 413


def test_what_the_sql_says_is_escaped(browser: Client) -> None:
    for sql in (f"select '{HOSTILE}' as a", f'select 1 as "{HOSTILE}"', f"{HOSTILE}", f"</textarea>{HOSTILE}"):
        assert HOSTILE not in browser.post("/sql", data={"sql": sql}).text


def test_html_in_a_store_is_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that came from elsewhere may hold anything where its tables promise text."""
    import orchestrator.serving.site as pages

    state = {
        "sweep": HOSTILE,
        "store": HOSTILE,
        "driver": {"pid": HOSTILE, "host": HOSTILE, "since": HOSTILE},
        "counts": {HOSTILE: 1},
        "flops_spent": 0.0,
        "flops_planned": 0.0,
        "worker_seconds_left": 0.0,
        "cost": {"so_far": {"money": 1.0, "currency": HOSTILE, "kilowatt_hours": None}},
        "curves": [],
        "failures": [{"status": "error", "run_id": HOSTILE, "reason": HOSTILE}],
    }
    monkeypatch.setattr(pages.status, "status", lambda location: state)
    browser = Client(site_of(tmp_path))
    browser.get(f"/?token={TOKEN}")
    for path in ("/", "/status", "/sql"):
        answer = browser.get(path)
        assert answer.status_code == 200
        assert HOSTILE not in answer.text
        assert "&lt;script&gt;" in answer.text


def test_html_in_the_runs_is_text_in_the_report(tmp_path: Path) -> None:
    source = tmp_path / "runs.csv"
    points = [(n, d) for n in (1e6, 2e6, 4e6) for d in (1e8, 2e8)]
    rows = [f"{n},{d},{6 * n * d},{3 + 1e6 / n},{HOSTILE},{HOSTILE}{i}" for i, (n, d) in enumerate(points)]
    source.write_text("\n".join(["params,tokens,flops,loss,sweep,run_id", *rows]))
    write_report(str(source), tmp_path / "report.html")
    assert HOSTILE not in (tmp_path / "report.html").read_text()


def test_a_report_that_cannot_be_made_is_a_message(small_store: Path) -> None:
    from analysis.errors import SourceError

    def torn(location: str) -> bytes:
        raise SourceError(f"tables are torn {HOSTILE}")

    site = site_of(small_store)
    site._report = LiveReport(str(small_store), torn)
    browser = Client(site)
    browser.get(f"/?token={TOKEN}")
    answer = browser.get("/report")
    assert answer.status_code == 500
    assert "tables are torn" in answer.text
    assert HOSTILE not in answer.text

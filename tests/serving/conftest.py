"""The live pages of a small store, called in-process."""

from __future__ import annotations

from pathlib import Path

import pytest
from werkzeug.test import Client

from orchestrator.serving.guard import Guard
from orchestrator.serving.live import LiveReport
from orchestrator.serving.site import Site
from orchestrator.serving.sql import Queries

TOKEN = "correct-horse"
COOKIE = "isoflop-1234"


def report_of(location: str) -> bytes:
    return b"<p>the report of " + Path(location).name.encode() + b"</p>"


def site_of(store: Path) -> Site:
    guard = Guard(token=TOKEN, cookie=COOKIE)
    return Site(str(store), guard, LiveReport(str(store), report_of), Queries(str(store), seconds=5))


@pytest.fixture
def stranger(small_store: Path) -> Client:
    """A browser that has not shown the token."""
    return Client(site_of(small_store))


@pytest.fixture
def browser(stranger: Client) -> Client:
    """A browser with the cookie."""
    assert stranger.get(f"/?token={TOKEN}").status_code == 303
    return stranger

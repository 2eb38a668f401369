"""Options and fixtures for all tests."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests that take minutes, too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--slow"):
        return
    skip = pytest.mark.skip(reason="takes minutes; run with --slow")
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of published runs beside the checkout; they are not part of the project, and their tests are optional."""
    folder = Path(__file__).resolve().parents[1].parent / "shared/data"
    if not folder.is_dir():
        pytest.skip("needs the published runs in ../shared/data, which are not part of the project")
    return folder


@pytest.fixture(scope="session")
def small_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of the `smoke` preset, trained once in this process. Read it, copy it, but do not change it."""
    from orchestrator import load_sweep, run
    from orchestrator.running import Options

    store = tmp_path_factory.mktemp("small") / "store"
    run(load_sweep("smoke"), store, Options(inline=True))
    return store

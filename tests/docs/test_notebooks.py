"""The notebooks run from top to bottom in a fresh kernel; their own assertions say whether what they claim holds."""

from __future__ import annotations

from pathlib import Path

import pytest

nbclient = pytest.importorskip("nbclient", reason="needs nbclient and ipykernel: pip install nbclient ipykernel")

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "docs/notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_runs(notebook: Path, tmp_path: Path) -> None:
    import nbformat

    document = nbformat.read(notebook, as_version=4)
    client = nbclient.NotebookClient(document, timeout=120, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    assert list(tmp_path.iterdir()) == []


def test_there_are_notebooks() -> None:
    assert len(NOTEBOOKS) == 3

"""The doctor: what is well is said to be, and what is broken is named with its fix."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from orchestrator.doctor import examine, libraries, machine
from orchestrator.doctor.finding import Finding


def only(findings: Iterable[Finding]) -> Finding:
    (found,) = findings
    return found


def isoflop(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    code = "from orchestrator.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=cwd, check=False
    )


def test_the_command_prints_one_json_document_and_leaves_nothing_behind(tmp_path: Path) -> None:
    done = isoflop("doctor", "--json", cwd=tmp_path)
    document = json.loads(done.stdout)
    assert done.returncode == (0 if document["ok"] else 3)
    names = {check["name"] for check in document["checks"]}
    assert names >= {"machine", "dependencies", "packages", "ray", "ray token", "store", "fonts", "gpu", "data"}
    assert all(check["fix"] for check in document["checks"] if check["severity"] != "ok")
    assert list(tmp_path.iterdir()) == []


def test_text_that_is_not_there_is_an_error_of_the_data(tmp_path: Path) -> None:
    found = only(machine.data(str(tmp_path / "books")))
    assert found.severity == "error"
    assert "books" in found.found
    assert "--data" in found.fix


def test_little_text_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "poem.txt").write_text("so much depends upon\n" * 10)
    found = only(machine.data(str(tmp_path)))
    assert found.severity == "warning"
    assert "allow_epochs" in found.fix


def test_a_package_of_the_user_that_hides_ours_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "trainer.py").write_text("")
    monkeypatch.chdir(tmp_path)
    found = only(libraries.packages())
    assert found.severity == "error"
    assert str(tmp_path / "trainer.py") in found.found
    assert found.fix.startswith("Rename")


def test_a_token_mode_without_a_token_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    found = only(machine.ray_token())
    assert found.severity == "error"
    assert "get-auth-token" in found.fix


def test_a_token_that_others_can_read_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = tmp_path / "token"
    token.write_text("secret")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
    token.chmod(0o644)
    assert only(machine.ray_token()).fix == f"chmod 600 {token}"
    token.chmod(0o600)
    assert only(machine.ray_token()).severity == "ok"
    assert "secret" not in only(machine.ray_token()).found


def test_a_place_that_cannot_be_written_cannot_hold_a_store(tmp_path: Path) -> None:
    assert only(machine.create_only(str(tmp_path / "runs"))).severity == "ok"
    assert list(tmp_path.iterdir()) == []
    blocked = only(machine.create_only("/proc"))
    assert blocked.severity == "error"
    assert "/proc cannot be written" in blocked.found


def test_a_library_that_breaks_or_hangs_is_a_finding(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "ray.py").write_text("raise ImportError('libray.so: wrong ELF class')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = only(libraries.ray())
    assert found.severity == "error"
    assert "wrong ELF class" in found.found
    (tmp_path / "torch.py").write_text("import time; time.sleep(60)")
    monkeypatch.setattr(libraries, "PROBE_SECONDS", 0.5)
    assert "no answer" in only(libraries.gpu()).found


def test_a_requirement_that_is_not_met_comes_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries.metadata, "requires", lambda name: ["numpy>=99", 'ruff>=0.9; extra == "test"'])
    found = only(libraries.dependencies())
    assert found.severity == "error"
    assert found.fix == 'pip install "numpy>=99"'


def test_the_doctor_itself_stays_light(tmp_path: Path) -> None:
    code = "import sys; from orchestrator.doctor import examine; list(map(str, examine())); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert not {"torch", "ray", "matplotlib", "optuna"} & set(done.stdout.split())


def test_every_finding_that_is_not_well_has_a_fix() -> None:
    assert all(finding.fix for finding in examine() if finding.severity != "ok")

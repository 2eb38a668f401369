"""Submitting a sweep to a cluster: against a server that speaks Ray's job API, and once against a real head."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from job_server import FakeJobServer
from processes import wait_until
from real_head import real_head

from orchestrator.errors import InfrastructureError, StoreError, SubmissionError, SweepError
from orchestrator.execution.jobs import Job, JobServer
from orchestrator.submitting import Submission, attach, exit_code, prepare, summary
from orchestrator.version import SUBMITTED_BY, refuse_other_than_submitted

STORE = "s3://bucket/sweep"
SUPPORT = Path(__file__).resolve().parents[1] / "support"


@pytest.fixture(autouse=True)
def _no_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("RAY_AUTH_TOKEN", "RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "no-token"))


@pytest.fixture
def head() -> Iterator[FakeJobServer]:
    with FakeJobServer() as server:
        yield server


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a sweep, its text and its trainer, in which the test stands."""
    folder = tmp_path / "project"
    folder.mkdir()
    for name in ("tiny.yaml", "tiny_trainer.py"):
        (folder / name).write_text((SUPPORT / name).read_text())
    (folder / "tiny.txt").write_text("".join(f"line {i * i % 9973} of words {i}\n" * 3 for i in range(5_000)))
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def submission(project: Path) -> Submission:
    return prepare("tiny.yaml", STORE, settings=["seeds=2"], folder=project)


def connect(head: FakeJobServer) -> JobServer:
    return JobServer(head.address, wait_seconds=20)


def test_a_job_is_the_folder_and_the_command(head: FakeJobServer, submission: Submission) -> None:
    name, submitted, same = attach(connect(head), submission)
    assert (submitted, same) == (True, True)
    assert name.startswith("isoflop-tiny-")
    job = head.jobs[name]
    assert job["entrypoint"] == f"isoflop run tiny.yaml --address auto --store {STORE} --yes --set seeds=2"
    (archive,) = head.archives.values()
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        assert opened.namelist() == ["tiny.txt", "tiny.yaml", "tiny_trainer.py"]


def test_repeating_attaches_while_it_runs_and_submits_anew_when_it_has_ended(
    head: FakeJobServer, submission: Submission
) -> None:
    server = connect(head)
    first, *_ = attach(server, submission)
    assert attach(server, submission) == (first, False, True)
    head.end(first, "FAILED", 3)
    second, submitted, _ = attach(server, submission)
    assert (second, submitted) == (f"{first}-2", True)
    assert attach(server, submission) == (second, False, True)
    head.end(second, "STOPPED")
    assert attach(server, submission)[0] == f"{first}-3"
    assert len(head.archives) == 1  # the same folder was sent once


def test_attaching_tells_that_the_folder_has_changed(head: FakeJobServer, project: Path) -> None:
    name, *_ = attach(connect(head), prepare("tiny.yaml", STORE, folder=project))
    (project / "tiny_trainer.py").write_text("changed = True\n")
    assert attach(connect(head), prepare("tiny.yaml", STORE, folder=project)) == (name, False, False)


def test_another_store_is_another_job(head: FakeJobServer, project: Path) -> None:
    names = {prepare("tiny.yaml", store, folder=project).name for store in (STORE, f"{STORE}/", f"{STORE}-2")}
    assert len(names) == 2


def test_a_head_that_comes_up_is_waited_for(head: FakeJobServer, submission: Submission) -> None:
    head.failures = [500]
    said: list[str] = []
    server = JobServer(head.address, wait_seconds=20, note=said.append)
    name, submitted, _ = attach(server, submission)
    assert submitted
    assert name in head.jobs
    assert [line for line in said if "waiting" in line]


def test_a_submission_whose_answer_was_lost_is_not_made_twice(head: FakeJobServer, submission: Submission) -> None:
    server = connect(head)
    name, *_ = attach(server, submission)
    server.submit(name, command="other", archive=_archive(submission), environment={}, metadata={})
    assert head.jobs[name]["entrypoint"] == submission.command


def _archive(submission: Submission) -> Path:
    from orchestrator.packing import write_archive

    path = submission.package.root.parent / "again.zip"
    write_archive(submission.package, path)
    return path


def test_a_log_is_followed_through_a_broken_connection(head: FakeJobServer, submission: Submission) -> None:
    server = connect(head)
    name, *_ = attach(server, submission)
    head.break_after = 2
    shown: list[str] = []

    def show(text: str) -> None:
        shown.append(text)
        if "third" in text:
            head.end(name, "FAILED", 2)

    job = server.follow(name, show)
    assert "".join(shown) == f"log of {name}\nsecond line\nthird line\n"
    assert exit_code(job) == 2


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [("SUCCEEDED", 0, 0), ("FAILED", 2, 2), ("FAILED", 1, 1), ("FAILED", None, 3), ("FAILED", -9, 3), ("STOPPED", None, 130)],
)  # fmt: skip
def test_the_command_ends_as_its_job_does(status: str, code: int | None, expected: int) -> None:
    job = Job(name="j", status=status, exit_code=code, message="", metadata={})
    assert exit_code(job) == expected


def isoflop(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from orchestrator.cli import main; main()", *arguments]


def test_ctrl_c_detaches_and_says_how_to_attach_again(head: FakeJobServer, project: Path) -> None:
    command = isoflop("submit", "tiny.yaml", "--address", head.address, "--store", STORE)
    with subprocess.Popen(
        command,
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # a shell's background ignores it
    ) as process:
        wait_until(head.followed.is_set, "the log is followed")
        assert process.stdout is not None
        assert process.stdout.readline().startswith("log of isoflop-tiny-")
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    (name,) = head.jobs
    assert f"detached; {name} goes on. Attach again: isoflop submit tiny.yaml" in said
    assert "sends 3 files" in said
    assert "Traceback" not in said
    assert head.jobs[name]["status"] == "RUNNING"


def test_a_head_that_goes_away_is_said_with_how_to_attach_again(head: FakeJobServer, project: Path) -> None:
    command = isoflop("submit", "tiny.yaml", "--address", head.address, "--store", STORE, "--wait", "0")
    with subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        wait_until(head.followed.is_set, "the log is followed")
        head.refuse = (503, "gone")
        (name,) = head.jobs
        head.end(name, "STOPPED")  # closes the log
        _, said = process.communicate(timeout=60)
    assert process.returncode == 3
    assert f"{name} does not need this machine and may go on. Attach again: isoflop submit" in said


@pytest.mark.ray
@pytest.mark.timeout(480)
def test_a_real_head_runs_the_sweep(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A head that wants a token and is still coming up; the driver, its workers and the trainer run from the package."""
    store, token = tmp_path / "store", "0123456789abcdef" * 4
    command = isoflop("submit", "tiny.yaml", "--store", str(store), "--shared", "--wait", "200")
    with real_head(token) as address:
        monkeypatch.delenv("RAY_AUTH_MODE")
        monkeypatch.setenv("RAY_AUTH_TOKEN", token)
        done = subprocess.run([*command, "--address", address], cwd=project, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr + done.stdout
        monkeypatch.setenv("RAY_AUTH_TOKEN", token[::-1])
        refused = subprocess.run([*command, "--address", address], cwd=project, capture_output=True, text=True)
    assert "waiting up to" in done.stderr
    assert "6 ok" in done.stdout
    assert "succeeded" in done.stderr
    assert len(list((store / "commits").iterdir())) == 6
    assert refused.returncode == 3
    assert "refuses the token in RAY_AUTH_TOKEN (HTTP 403)" in refused.stderr


# --- what cannot work is said


def test_nobody_listens() -> None:
    with pytest.raises(InfrastructureError, match=r"nobody listens at http://127.0.0.1:1 .*Start the cluster"):
        JobServer("http://127.0.0.1:1", wait_seconds=0)


@pytest.mark.parametrize(
    ("status", "text", "said"),
    [
        (401, "Unauthorized: Missing authentication token", r"wants a token \(HTTP 401\), and this machine has none"),
        (403, "Forbidden: Invalid authentication token", r"refuses the token .*auth_token"),
        (404, "Not Found", r"has no job API .*Check the port"),
        (200, "<html>another server</html>", r"has no job API .*Check the port"),
    ],
)
def test_a_server_that_refuses(status: int, text: str, said: str, head: FakeJobServer) -> None:
    head.refuse = (status, text)
    with pytest.raises(InfrastructureError, match=said):
        connect(head)


def test_a_cluster_too_old(head: FakeJobServer) -> None:
    head.version = "1.8.0"
    with pytest.raises(InfrastructureError, match=r"has no job API .*1\.8\.0.*one version of Ray everywhere"):
        connect(head)


def test_versions_that_differ_are_said(head: FakeJobServer) -> None:
    head.version = "2.58.1"
    said: list[str] = []
    JobServer(head.address, note=said.append)
    assert "the cluster runs Ray 2.58.1" in said[0]


def test_an_address_of_the_environment_does_not_hide_the_one_given(
    head: FakeJobServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:1")
    assert connect(head).jobs() == {}
    assert os.environ["RAY_ADDRESS"] == "http://127.0.0.1:1"


@pytest.mark.parametrize("address", ["ray://head:10001", "auto", "head:8265"])
def test_an_address_of_another_kind(address: str) -> None:
    with pytest.raises(SubmissionError, match="expected the address of the head's dashboard"):
        JobServer(address)


def test_a_store_that_nodes_cannot_share(project: Path) -> None:
    with pytest.raises(StoreError, match=r"runs/x, a folder of one machine.*--shared"):
        prepare("tiny.yaml", "runs/x", folder=project)
    with pytest.raises(StoreError, match=r"relative .*absolute"):
        prepare("tiny.yaml", "runs/x", folder=project, shared=True)
    assert prepare("tiny.yaml", "/mnt/x", folder=project, shared=True).command.endswith("--store /mnt/x --yes")


def test_a_sweep_or_text_that_would_stay_behind(project: Path, tmp_path: Path) -> None:
    (project / ".gitignore").write_text("*.txt\n")
    with pytest.raises(SubmissionError, match=r"data names .*tiny.txt.*take it out of .gitignore"):
        prepare("tiny.yaml", STORE, folder=project)
    (tmp_path / "outside.yaml").write_text((project / "tiny.yaml").read_text())
    with pytest.raises(SubmissionError, match=r"outside.yaml is not among the files"):
        prepare("../outside.yaml", STORE, folder=project)


def test_text_of_the_nodes_own_is_named_and_not_sent(project: Path) -> None:
    """An absolute path outside the folder is the head's, such as a folder of its image."""
    settings = ["data={source: text, files: [/data/books/*.txt]}"]
    submission = prepare("smoke", STORE, settings=settings, folder=project)
    assert submission.elsewhere == ("/data/books/*.txt",)
    assert summary(submission)[-1] == "not sent: /data/books/*.txt, which the head must have there"
    with pytest.raises(SubmissionError, match="Move it below that folder"):
        prepare("tiny.yaml", STORE, settings=["data.files=[../books.txt]"], folder=project)


def test_a_mistake_in_the_sweep_costs_no_cluster(project: Path) -> None:
    with pytest.raises(SweepError, match='Did you mean "budgets"'):
        prepare("tiny.yaml", STORE, settings=["budgts=[1e9]"], folder=project)


def test_a_cluster_with_other_code_refuses_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SUBMITTED_BY, "0.0.1+00000000")
    with pytest.raises(SweepError, match=r"submitted with 0\.0\.1.*Install the same version"):
        refuse_other_than_submitted()


def test_a_preset_needs_no_file(project: Path) -> None:
    command = prepare("smoke", STORE, folder=project, take_over=True).command
    assert command == f"isoflop run smoke --address auto --store {STORE} --yes --take-over"


def test_words_are_quoted_for_the_heads_shell(project: Path) -> None:
    command = prepare("smoke", "s3://bucket/$(reboot)", settings=["budgets=[1e9, 3e9]"], folder=project).command
    assert command.endswith("--store 's3://bucket/$(reboot)' --yes --set 'budgets=[1e9, 3e9]'")

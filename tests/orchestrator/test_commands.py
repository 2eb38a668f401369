"""Trainers that are commands: what they are told, what they may say, and how each end of theirs is taken."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from processes import wait_until

from orchestrator import load_sweep, run
from orchestrator.errors import SweepError
from orchestrator.execution import command as commands
from orchestrator.execution.command import CommandFailed, CommandKilled
from orchestrator.execution.records import RecordError
from orchestrator.execution.trainers import trainer_of
from orchestrator.running import Options
from orchestrator.store import Store
from trainer import (
    AdamW,
    Data,
    DeviceOutOfMemory,
    RunRecord,
    RunSpec,
    Schedule,
    Transformer,
    from_dict,
    run_id,
    to_dict,
)
from trainer.execution import Execution, Interrupted, Progress

SUPPORT = Path(__file__).resolve().parents[1] / "support"
TINY = str(SUPPORT / "tiny_command.py")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from trainer.data.corpus import snapshot
    from trainer.data.sources import TextFiles

    folder = tmp_path_factory.mktemp("corpus")
    (folder / "tiny.txt").write_text("".join(f"line {i * i % 9973} of words {i}\n" * 3 for i in range(20_000)))
    snapshot(TextFiles(paths=(str(folder / "tiny.txt"),)), folder / "corpus")
    return folder / "corpus"


SPEC = RunSpec(
    model=Transformer(layers=1, width=8, heads=1, ffn_width=32, vocab=256, context=64),
    data=Data(corpus="c", heldout_tokens=64),
    steps=10,
    batch_contexts=2,
    optimizer=AdamW(learning_rate=0.01),
    schedule=Schedule(warmup_steps=1, decay_steps=9),
)


def train(way: str, corpus: Path, **execution: object) -> RunRecord:
    made = Execution(corpus=corpus, **execution)  # type: ignore[arg-type]
    return trainer_of(["{python}", TINY, way])(SPEC, made)


def test_a_record_becomes_a_result(corpus: Path) -> None:
    record = train("ok", corpus)
    assert (record.status, record.loss, record.loss_se, record.bpb) == ("ok", 2.008, 0.01, 3.1)
    assert (record.tokens, record.heldout_tokens, record.seconds) == (SPEC.tokens, 4096, 1.5)
    assert record.unique_tokens > 100_000  # the corpus's, where the command says nothing
    curve = train("curve", corpus).curve
    assert [(point.tokens, point.train_loss, point.lr) for point in curve] == [(64, 5.0, 0.1), (128, 4, 0)]


def test_a_diverged_run_is_a_result(corpus: Path) -> None:
    record = train("diverged", corpus)
    assert (record.status, record.loss, record.tokens, record.reason) == ("diverged", None, 64, "loss is not finite")


@pytest.mark.parametrize(
    ("way", "error", "said"),
    [
        ("nothing", RecordError, "left no record; expected JSON"),
        ("torn", RecordError, "torn or no JSON.*rename"),
        ("list", RecordError, "record is list; expected one JSON object"),
        ("nan", RecordError, "loss is nan; expected a finite number.*status: diverged"),
        ("text", RecordError, "loss is '2.0'; expected a number"),
        ("no-loss", RecordError, "loss is None; expected a number"),
        ("tokens", RecordError, "says 1,216 tokens; the run is of 1,280"),
        ("unknown", RecordError, "unknown key 'los'.*Did you mean \"loss\""),
        ("status", RecordError, "status is 'done'; expected one of ok, diverged, oom"),
        ("backwards", RecordError, "tokens do not rise"),
        ("exit", CommandFailed, "ended with exit code 3; expected 0 and a record"),
        ("segv", CommandFailed, "was ended by SIGSEGV"),
        ("killed", CommandKilled, "was killed"),
        ("oom", DeviceOutOfMemory, "micro-batch of 2 windows: CUDA out of memory"),
    ],
)
def test_every_other_end_is_said(way: str, error: type[Exception], said: str, corpus: Path) -> None:
    with pytest.raises(error, match=said):
        train(way, corpus)


def test_a_program_that_is_not_there_is_refused_before_anything_runs() -> None:
    with pytest.raises(SweepError, match=r"trainer command no-such-program: not found.*Install it"):
        trainer_of(["no-such-program"])


def test_arguments_are_words_not_shell(corpus: Path, tmp_path: Path) -> None:
    script = "import json,os,sys; json.dump(sys.argv[1:], open(sys.argv[1], 'w'))"
    words = [
        "{python}",
        "-c",
        script,
        f"{tmp_path}/said",
        "$(reboot); *",
        "--width={model.width}",
        "d={tokens}",
        "{model.positions} {model.tied_head} {model.kv_heads}",
        '{"a": 1}',
    ]
    with pytest.raises(RecordError):
        trainer_of(words)(SPEC, Execution(corpus=corpus))
    said = json.loads((tmp_path / "said").read_text())[1:]
    assert said == ["$(reboot); *", "--width=8", "d=1280", "rotary false null", '{"a": 1}']


def test_the_command_is_part_of_a_runs_identity() -> None:
    first = replace(SPEC, trainer=("torchrun", "train.py"))
    second = replace(SPEC, trainer=("torchrun", "train.py", "--fast"))
    assert len({run_id(SPEC), run_id(first), run_id(second)}) == 3
    assert from_dict(json.loads(json.dumps(to_dict(first)))) == first


def test_a_stop_is_passed_on_and_the_next_attempt_goes_on(corpus: Path, tmp_path: Path) -> None:
    seen: list[Progress] = []
    folder = tmp_path / "checkpoints"
    with pytest.raises(Interrupted):
        train("resume", corpus, checkpoints=folder, on_progress=seen.append, should_stop=lambda: bool(seen))
    assert (seen[0].step, seen[0].steps, seen[0].train_loss) == (7, 10, 3.0)
    assert train("resume", corpus, checkpoints=folder).resumed_at_step == 7


def test_what_does_not_stop_is_killed_with_its_children(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "GRACE_SECONDS", 0.2)
    seen: list[Progress] = []
    with pytest.raises(Interrupted, match="killed"):
        train("hang", corpus, checkpoints=tmp_path, on_progress=seen.append, should_stop=lambda: bool(seen))
    for pid in (tmp_path / "pids").read_text().split():
        wait_until(lambda pid=pid: _is_gone(int(pid)), f"{pid} is gone")  # type: ignore[misc]


def test_nothing_outlives_a_worker_that_is_killed(corpus: Path, tmp_path: Path) -> None:
    """The worker has no time to do anything: the guard sees its pipe close."""
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1])\n"
        "import test_commands as t; t.train('hang', Path(sys.argv[2]), checkpoints=Path(sys.argv[3]))"
    )
    worker = subprocess.Popen(
        [sys.executable, "-c", code, str(Path(__file__).parent), str(corpus), str(tmp_path)],
        env=os.environ | {"PYTHONPATH": f"{SUPPORT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
    )
    wait_until((tmp_path / "pids").exists, "the command runs")
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    for pid in (tmp_path / "pids").read_text().split():
        wait_until(lambda pid=pid: _is_gone(int(pid)), f"{pid} is gone")  # type: ignore[misc]


def _is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


# --- in a sweep


@pytest.fixture
def sweep(tmp_path: Path) -> Callable[..., tuple[Store, dict[str, int]]]:
    (tmp_path / "tiny.txt").write_text("".join(f"line {i * i % 9973} of words {i}\n" * 3 for i in range(20_000)))
    (tmp_path / "tiny.yaml").write_text((SUPPORT / "tiny.yaml").read_text())

    def go(*words: str, settings: tuple[str, ...] = ()) -> tuple[Store, dict[str, int]]:
        trainer = "trainer=" + json.dumps({"command": ["{python}", TINY, *words]})
        store = tmp_path / f"store-{words[0]}"
        result = run(load_sweep(tmp_path / "tiny.yaml", [trainer, *settings]), store, Options(inline=True))
        return Store(store), dict(result.counts)

    return go


def test_a_sweep_of_commands_commits_and_keeps_their_words(sweep: Callable[..., tuple[Store, dict[str, int]]]) -> None:
    store, counts = sweep("ok", settings=("budgets=[1e8]",))
    assert counts == {"ok": 3}
    run_ids = store.objects.names("logs")
    logs = [store.objects.read(f"logs/{run_id}/0000.log") for run_id in run_ids]
    assert logs == [b"a word for the log\n"] * 3
    commits = [store.commit(run_id) for run_id in run_ids]
    assert [commit["spec"]["trainer"][2] for commit in commits if commit] == ["ok"] * 3


def test_a_command_without_memory_has_its_micro_batch_halved(
    sweep: Callable[..., tuple[Store, dict[str, int]]],
) -> None:
    store, counts = sweep("oom", settings=("budgets=[1e8]", "sizes.shapes=[{width: 8}]"))
    assert counts == {"oom": 1}
    (name,) = store.objects.names("attempts")
    assert len(store.objects.names(f"attempts/{name}")) == 3  # 4, 2 and 1 windows


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["trainer={command: []}"], "trainer.command.*at least 1"),
        (['trainer={command: [a, "{recrod}"]}'], r'\{recrod\} is no placeholder.*Did you mean "\{record\}"'),
        (["trainer=train.py"], "trainer"),
        (["resources.gpus=2"], "this trainer uses at most one GPU a run"),
        (["resources.gpus=2", "trainer=a:b"], "this trainer uses at most one GPU a run"),
        (["resources.gpus=1.5", "trainer={command: [a]}"], "a fraction of one GPU, or whole ones. Use gpus: 2"),
    ],
)
def test_mistakes_in_the_file(settings: list[str], said: str) -> None:
    with pytest.raises(SweepError, match=said):
        load_sweep("smoke", settings)


def test_several_gpus_for_a_command() -> None:
    made = load_sweep("smoke", ["resources.gpus=4", "trainer={command: [torchrun, --nproc-per-node=4, train.py]}"])
    assert made.resources.gpus == 4
    assert made.trainer_name == ("torchrun", "--nproc-per-node=4", "train.py")

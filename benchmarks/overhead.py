"""What the orchestrator costs per trial, beside Ray Tune with OptunaSearch, with trials that do nothing.

    python benchmarks/overhead.py [--n 1000] [--quick] [--json] [--alone]

Both get the same number of slots of one local Ray in the same run; every trial of ours is durably committed. Rates are
compared, so that a loaded machine slows both. Besides: driver CPU per trial, the rate of the last quarter against that
of the first (and the CPU, which a loaded machine does not change), memory, the time to continue a finished store, the
latency of a query, and the makespan of recorded durations. Of every 8 trials of `--n` 7 are made; the plan drops one.

`--alone` leaves Ray out: commits are written in the driver's process, and what that takes is not counted. So a hundred
thousand trials take a minute of CPU, and their memory is the driver's own.
"""

from __future__ import annotations

import argparse
import contextlib
import heapq
import json
import os
import random
import resource
import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

SLOTS = 2
TUNE_TRIALS = 40
TPE_TRIALS = 1000
POINTS = 8

TRAINERS = str(Path(__file__).resolve().parent / "trainers")
GALLERY = Path(__file__).resolve().parents[1] / "examples/gallery"

sys.path[0] = TRAINERS  # this folder has a module called analysis, which would hide the package


class Times:
    """An observer that notes when runs finish, by the clock and by this process' CPU time."""

    def __init__(self, launcher: Any) -> None:
        self.launcher = launcher
        self.finished_at: list[float] = []
        self.cpu_at: list[float] = []

    def update(self, snapshot: Any) -> None:
        """See `Observer.update`."""

    def finished(self, row: dict[str, Any]) -> None:
        """See `Observer.finished`."""
        self.finished_at.append(time.perf_counter())
        self.cpu_at.append(time.process_time() - self.launcher.own_cpu)


def quarters(moments: list[float]) -> tuple[float, float]:
    """How long the first quarter of all runs took, and the last."""
    quarter = len(moments) // 4
    return moments[quarter] - moments[0], moments[-1] - moments[-1 - quarter]


def sweep_of(n: int, folder: Path, sampler: str = "grid") -> Any:
    """N points, four sizes on two curves, the rest are seeds: as a planned grid, or as candidates of a sampler."""
    from orchestrator import load_sweep

    folder.mkdir(exist_ok=True)
    (folder / "text.txt").write_text("".join(f"line {i * i % 9973} of words {i}\n" * 3 for i in range(20_000)))
    seeds = max(1, n // POINTS)
    widths = "[{width: 8}, {width: 16}, {width: 24}, {width: 32}]"
    (folder / "sweep.yaml").write_text(
        f"name: overhead\nbudgets: [4e8, 8e8]\nsizes: {{shapes: {widths}}}\nseeds: {list(range(seeds))}\n"
        "trainer: noop_trainer:train\nmodel: {layers: 1, context: 64}\nmin_steps: 2\nbatch: 256\n"
        "data: {source: text, files: [text.txt], heldout_tokens: 4096, allow_epochs: 100}\n"
        "optimizer: {learning_rate: 1e-2, beta2_half_life_tokens: 35000}\nresources: {cpus: 1}\n"
        f"sampler: {sampler}\n"
    )
    return load_sweep(folder / "sweep.yaml")


def ours(n: int, folder: Path, launcher: Any, sampler: str = "grid") -> dict[str, float]:
    """Rate, CPU and memory of a sweep of n trials that do nothing."""
    from orchestrator.running import Options, run

    times = Times(launcher)
    sweep = sweep_of(n, folder, sampler)
    cpu, start = time.process_time(), time.perf_counter()
    result = run(sweep, folder / "store", Options(launcher=launcher, observer=times))
    elapsed, cpu = time.perf_counter() - start, time.process_time() - cpu - launcher.own_cpu
    assert result.counts["ok"] == len(times.finished_at), result
    count = len(times.finished_at)
    (first, last), (first_cpu, last_cpu) = quarters(times.finished_at), quarters(times.cpu_at)
    return {
        "trials": count,
        "trials_per_second": count / elapsed,
        "seconds_to_first_result": times.finished_at[0] - start,
        "driver_cpu_ms_per_trial": 1e3 * cpu / count,
        "last_quarter_over_first": first / last,
        "driver_cpu_last_quarter_over_first": last_cpu / first_cpu,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


class _Kept:
    """A launcher that stays open when a sweep ends, so that one Ray serves several."""

    own_cpu = 0.0

    def __init__(self, launcher: Any) -> None:
        self._launcher = launcher

    def __getattr__(self, name: str) -> Any:
        return getattr(self._launcher, name)

    def close(self) -> None:
        """Stay open."""


class Alone:
    """A launcher without processes, which commits two tasks at a time; it counts the CPU time that this takes."""

    own_cpu = 0.0

    def __init__(self) -> None:
        self._queue: deque[Any] = deque()

    def wait(self, timeout: float) -> list[Any]:
        """Commit what the no-op trainer gives, without a sync."""
        start = time.process_time()
        outcomes = [self._committed(self._queue.popleft()) for _ in range(min(SLOTS, len(self._queue)))]
        self.own_cpu += time.process_time() - start
        return outcomes

    def _committed(self, task: Any) -> Any:
        from noop_trainer import train

        from orchestrator.execution.task import Outcome
        from orchestrator.execution.worker import _document
        from trainer import from_dict

        folder = Path(task.store) / "commits"
        folder.mkdir(exist_ok=True)
        document = {"format": 1, "run_id": task.run_id} | _document(task, train(from_dict(task.spec)))
        (folder / f"{task.run_id}.json").write_text(json.dumps(document, sort_keys=True))
        return Outcome(run_id=task.run_id, attempt=task.attempt, ending="ok", seconds=0.003)

    def submit(self, task: Any) -> None:
        """See `Launcher.submit`."""
        self._queue.append(task)

    def slots(self) -> int:
        """See `Launcher.slots`."""
        return SLOTS

    def has_room(self, task: Any) -> bool:
        """See `Launcher.has_room`."""
        return False

    def gone(self) -> tuple[str, ...]:
        """See `Launcher.gone`."""
        return ()

    def close(self) -> None:
        """See `Launcher.close`."""


def tune(trials: int, folder: Path) -> dict[str, float]:
    """Rate of Ray Tune with OptunaSearch and a trainable that does nothing, on a Ray that is up."""
    import ray.tune
    from ray.tune.search.optuna import OptunaSearch

    def trainable(config: dict[str, float]) -> None:
        ray.tune.report({"loss": config["x"]})

    tuner = ray.tune.Tuner(
        ray.tune.with_resources(trainable, {"cpu": 1}),
        param_space={"x": ray.tune.uniform(0, 1)},
        tune_config=ray.tune.TuneConfig(
            metric="loss", mode="min", num_samples=trials, search_alg=OptunaSearch(), max_concurrent_trials=SLOTS
        ),
        run_config=ray.tune.RunConfig(storage_path=str(folder), verbose=0),
    )
    start = time.perf_counter()
    with contextlib.redirect_stdout(sys.stderr):
        tuner.fit()
    return {"trials": trials, "trials_per_second": trials / (time.perf_counter() - start)}


def resuming(folder: Path, n: int) -> dict[str, float]:
    """Seconds from a driver's start to its first dispatch, with a sweep of n committed and a new seed to run."""
    from orchestrator import load_sweep
    from orchestrator.execution.inline import InlineLauncher
    from orchestrator.running import Options, run
    from orchestrator.sweep import Resources

    class First(InlineLauncher):
        """Notes when it gets its first task."""

        at = cpu_at = 0.0

        def submit(self, task: Any) -> None:
            if not self.at:
                self.at, self.cpu_at = time.perf_counter(), time.process_time()
            super().submit(task)

    seeds = list(range(max(1, n // POINTS)))
    sweep = load_sweep(folder / "sweep.yaml", [f"seeds={[*seeds, seeds[-1] + 1]}"])
    launcher = First(Resources())
    start, cpu = time.perf_counter(), time.process_time()
    run(sweep, folder / "store", Options(launcher=launcher))
    return {
        "seconds_to_first_dispatch": launcher.at - start,
        "cpu_seconds_to_first_dispatch": launcher.cpu_at - cpu,
    }


def querying(folder: Path) -> dict[str, float]:
    """Milliseconds of one query in a started process, the median of nine."""
    from orchestrator.query import query

    taken, cpu = [], time.process_time()
    for _ in range(9):
        start = time.perf_counter()
        query(str(folder / "store"), "select budget, params, avg(loss) from runs group by 1, 2")
        taken.append(time.perf_counter() - start)
    return {"query_ms": 1e3 * sorted(taken)[4], "cpu_ms": 1e3 * (time.process_time() - cpu) / 9}


def makespan(slots: int = 16) -> dict[str, float]:
    """Longest-first among the runs released, over the lower bound: recorded durations of the gallery, and drawn ones."""
    draw = random.Random(0)
    recorded = {
        folder.parent.name: pq.read_table(folder, columns=["seconds"])["seconds"].to_pylist()
        for folder in sorted(GALLERY.glob("*/runs.parquet"))
    }
    drawn = {"log-normal": [draw.lognormvariate(0, 1) for _ in range(500)]}
    return {name: _over_bound(durations, slots) for name, durations in (recorded | drawn).items()}


def _over_bound(durations: list[float], slots: int) -> float:
    from orchestrator.driving.outgoing import RELEASED

    bound = max(sum(durations) / slots, max(durations))
    free, released, waiting = [0.0] * slots, iter(durations), []
    for _ in durations:
        while len(waiting) < RELEASED and (taken := next(released, None)) is not None:
            heapq.heappush(waiting, -taken)
        heapq.heappush(free, heapq.heappop(free) - heapq.heappop(waiting))
    return max(free) / bound


def beside_ray(n: int, folder: Path, tune_trials: int) -> dict[str, Any]:
    """Ours on a local Ray, and Tune's on the same one."""
    import ray

    from orchestrator.execution.ray import RayLauncher
    from orchestrator.sweep import Resources

    ray.init(address="local", num_cpus=SLOTS, include_dashboard=False, log_to_driver=False)
    report: dict[str, Any] = {"isoflop": ours(n, folder, _Kept(RayLauncher(Resources(cpus=1))))}
    report["isoflop_tpe"] = ours(min(n, TPE_TRIALS), folder / "tpe", _Kept(RayLauncher(Resources(cpus=1))), "tpe")
    if tune_trials:
        report["tune"] = tune(tune_trials, folder / "tune")
        report["ratio"] = report["isoflop"]["trials_per_second"] / report["tune"]["trials_per_second"]
    ray.shutdown()
    return report


def main() -> None:
    """Run everything and print one JSON object, or lines for a person."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=1000, help="trials of ours")
    parser.add_argument("--quick", action="store_true", help="200 trials of ours against 10 of Tune")
    parser.add_argument("--no-tune", action="store_true", help="leave Tune out")
    parser.add_argument("--alone", action="store_true", help="leave Ray and Tune out: the driver's own part")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    arguments = parser.parse_args()
    n = 200 if arguments.quick else arguments.n
    os.environ["PYTHONPATH"] = os.pathsep.join([TRAINERS, os.environ.get("PYTHONPATH", "")])
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        report: dict[str, Any] = {"slots": SLOTS}
        if arguments.alone:
            report["isoflop"] = ours(n, folder, Alone())
        else:
            report |= beside_ray(n, folder, 0 if arguments.no_tune else 10 if arguments.quick else TUNE_TRIALS)
        report["resume"] = {"committed": report["isoflop"]["trials"]} | resuming(folder, n)
        report["query"] = querying(folder)
        report["makespan_over_bound"] = makespan()
    print(json.dumps(report) if arguments.json else json.dumps(report, indent=2))


if __name__ == "__main__":
    main()

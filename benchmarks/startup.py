"""How long the command line takes to start, as whole processes, beside an interpreter that imports torch.

    python benchmarks/startup.py [--quick] [--json]

`ratio` is the median over pairs of (python -c "import torch") / (isoflop --help), run in turn.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time

ISOFLOP = [sys.executable, "-c", "from orchestrator.cli import main; main()"]
COMMANDS = {
    "python": [sys.executable, "-c", "pass"],
    "import torch": [sys.executable, "-c", "import torch"],
    "isoflop --help": [*ISOFLOP, "--help"],
    "isoflop plan quickstart": [*ISOFLOP, "plan", "quickstart"],
    "isoflop laws": [*ISOFLOP, "laws"],
}


def seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three rounds instead of eleven")
    parser.add_argument("--json", action="store_true", help="the JSON object alone")
    options = parser.parse_args()
    rounds = 3 if options.quick else 11
    for command in COMMANDS.values():
        seconds(command)  # files into the cache
    taken = [{name: seconds(command) for name, command in COMMANDS.items()} for _ in range(rounds)]
    medians = {name: statistics.median(one[name] for one in taken) for name in COMMANDS}
    ratio = statistics.median(one["import torch"] / one["isoflop --help"] for one in taken)
    if not options.json:
        for name, median in medians.items():
            print(f"{name:<26}{median:6.2f} s", file=sys.stderr)
    print(json.dumps({"ratio": ratio, "seconds": medians, "rounds": rounds}))


if __name__ == "__main__":
    main()

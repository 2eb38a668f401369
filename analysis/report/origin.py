"""Where a store's runs come from: its sweep file, the code that ran it, and what each proposal was based on."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from analysis.places import Place, place_of

Document = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """Why one point was chosen.

    Attributes:
        seq: Its number.
        run_id: The run.
        stage: Which rule of the sampler chose it, None where it has none.
        why: In words.
    """

    seq: int
    run_id: str
    stage: str | None
    why: str


@dataclass(frozen=True, kw_only=True)
class Step:
    """What was known of the target when a point was proposed.

    Attributes:
        flops: FLOPs reserved before.
        value: The target.
        low: Lower end of its interval.
        high: Upper end.
        setting: Whose target it is; None in a sweep of one.
    """

    flops: float
    value: float
    low: float
    high: float
    setting: str | None = None


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What a store says of how its runs came to be; empty for any other source.

    Attributes:
        sweep: The newest sweep file, with its defaults; empty where there is none.
        hash: Its hash.
        revisions: How many revisions of it were run.
        made_with: The code that ran the newest one: `isoflop`, `python`, `packages`, `git`.
        proposals: Of a sampler, in order; empty for a planned grid.
        history: What was known of the target at those that had a law.
        target: What the sampler learns: `quantity` and `flops`.
        level: Of the intervals in `history`.
    """

    sweep: Document = field(default_factory=dict)
    hash: str | None = None
    revisions: int = 0
    made_with: Document = field(default_factory=dict)
    proposals: tuple[Proposal, ...] = ()
    history: tuple[Step, ...] = ()
    target: Document = field(default_factory=dict)
    level: float = 0.9

    @property
    def sampler(self) -> str | None:
        """Who proposed points; None where there is no sweep."""
        return self.sweep.get("sampler")


def origin_of(source: str | os.PathLike[str]) -> Origin:
    """Read a store's origin; objects that cannot be read are left out, since the report says what there is."""
    place = place_of(source)
    revisions = list(_documents(place, "sweeps"))
    if not revisions:
        return Origin()
    newest = revisions[-1]
    proposals: list[Document] = []
    if newest.get("sweep", {}).get("sampler", "grid") != "grid":
        proposals = list(_documents(place, "proposals"))
    informed = [(one["based_on"], one["based_on"]["target"]) for one in proposals if _has_target(one)]
    return Origin(
        sweep=newest.get("sweep", {}),
        hash=newest.get("hash"),
        revisions=len(revisions),
        made_with=newest.get("made_with") or {},
        proposals=tuple(map(_proposal, proposals)),
        history=tuple(
            Step(
                flops=based_on["flops_reserved"],
                value=target["value"],
                low=target["interval"]["low"],
                high=target["interval"]["high"],
                setting=based_on.get("setting"),
            )
            for based_on, target in informed
        ),
        target=informed[-1][1] if informed else {},
        level=informed[-1][1]["interval"]["level"] if informed else 0.9,
    )


def _documents(place: Place, folder: str) -> Iterator[Document]:
    for name in sorted(place.names(folder)):
        if name.endswith(".json"):
            try:
                document = json.loads(place.read(f"{folder}/{name}"))
            except (OSError, ValueError):
                continue
            if isinstance(document, dict):
                yield document


def _has_target(proposal: Document) -> bool:
    target = (proposal.get("based_on") or {}).get("target")
    return bool(target and target.get("interval"))


def _proposal(document: Document) -> Proposal:
    based_on = document.get("based_on") or {}
    return Proposal(
        seq=int(document.get("seq", 0)),
        run_id=str(document.get("run_id", "")),
        stage=based_on.get("stage"),
        why=str(based_on.get("why") or ""),
    )


def cost_facts(origin: Origin, rows: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """Worker time, and the money and energy that follow by the sweep file's own figures; estimates, and named so."""
    if "seconds_spent" not in rows or not rows["seconds_spent"].notna().any():
        return
    hours = float(rows["seconds_spent"].sum()) / 3600
    resources, cost = origin.sweep.get("resources") or {}, origin.sweep.get("cost") or {}
    gpus = float(resources.get("gpus") or 0.0)
    yield "worker hours, retries included", f"{hours:.3g}" + (f" ({hours * gpus:.3g} GPU hours)" if gpus else "")
    amounts = (("gpu", gpus), ("cpu", float(resources.get("cpus") or 0.0)))
    money = [
        float(cost[f"per_{kind}_hour"]) * amount for kind, amount in amounts if amount and cost.get(f"per_{kind}_hour")
    ]
    watts = [
        float(cost[f"watts_per_{kind}"]) * amount
        for kind, amount in amounts
        if amount and cost.get(f"watts_per_{kind}")
    ]
    if money:
        yield "money, an estimate from the sweep file's prices", f"{sum(money) * hours:.3g} {cost.get('currency', '')}"
    if watts:
        yield "energy, an estimate from the sweep file's watts", f"{sum(watts) * hours / 1000:.3g} kWh"


def made_with_facts(origin: Origin) -> Iterator[tuple[str, str]]:
    """The sweep file and the code that ran it."""
    if origin.hash is None:
        return
    more = f", {origin.revisions} revisions" if origin.revisions > 1 else ""
    yield "sweep file, content hash", f"{origin.hash}{more}"
    made = origin.made_with
    if made.get("isoflop"):
        yield "run by isoflop", str(made["isoflop"])
    git = made.get("git")
    if git:
        state = ", with changes that were not committed" if git.get("dirty") else ""
        where = f" of {git['remote']}" if git.get("remote") else ""
        yield "git commit of the working folder", f"{git.get('commit')}{where}{state}"
    packages = dict(made.get("packages") or {})
    if made.get("python"):
        packages = {"Python": made["python"], **packages}
    if packages:
        yield "run with", ", ".join(f"{name} {version}" for name, version in packages.items())

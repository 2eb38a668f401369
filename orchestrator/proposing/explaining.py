"""Why each point was chosen, and how the target's interval shrank: read from the proposals of a store, without Optuna."""

from __future__ import annotations

from typing import Any

from orchestrator.store import Store


def explain(store: Store) -> dict[str, Any]:
    """What `status` and the report show of a sampler's work, as plain values.

    Returns:
        `proposals`: of each its `seq`, `run_id`, `by`, `setting`, `stage` and `why`. `history`: wherever the target was
        known, the setting, the FLOPs reserved before that proposal, the runs committed, and the target's `value`, `low`,
        `high` and `width`. `target` and `guard`: as of the last proposal; None before the law was fitted. `settings`: of a
        sweep of several, these two of each that has a law.
    """
    documents = []
    for name in sorted(store.objects.names("proposals")):
        try:
            documents.append(store.read(f"proposals/{name}"))
        except ValueError:  # torn: `status` names it among what cannot be read
            continue
    informed = [document for document in documents if "target" in document.get("based_on", {})]
    return {
        "proposals": [
            {
                "seq": document["seq"],
                "run_id": document["run_id"],
                "by": document["by"],
                "setting": document.get("based_on", {}).get("setting"),
                "stage": document.get("based_on", {}).get("stage"),
                "why": document.get("based_on", {}).get("why"),
            }
            for document in documents
        ],
        "history": [_step(document) for document in informed if document["based_on"]["target"]["interval"] is not None],
        "target": informed[-1]["based_on"]["target"] if informed else None,
        "guard": informed[-1]["based_on"]["guard"] if informed else None,
        "settings": {
            setting: {name: document["based_on"][name] for name in ("target", "guard")}
            for document in informed  # the latest of each is kept
            if (setting := document["based_on"].get("setting")) is not None
        },
    }


def _step(document: dict[str, Any]) -> dict[str, Any]:
    based_on = document["based_on"]
    target = based_on["target"]
    return {
        "seq": document["seq"],
        "setting": based_on.get("setting"),
        "flops": based_on["flops_reserved"],
        "committed": based_on["committed"],
        "value": target["value"],
        "low": target["interval"]["low"],
        "high": target["interval"]["high"],
        "width": target["width"],
    }

"""What the results table can say of a point before it is run."""

from __future__ import annotations

import json
from typing import Any

from orchestrator.planning.points import Corpus, Point
from orchestrator.planning.trunks import trunk_of
from orchestrator.sweep import Sweep
from trainer import Transformer, count_params
from trainer.identity import kind_of


def point_row(sweep: Sweep, point: Point, corpus: Corpus) -> dict[str, Any]:
    """What the results table can say of a point before it is run."""
    spec, shape = point.spec, point.spec.model
    counts = count_params(shape)
    trunk = trunk_of(sweep, spec)
    return {
        "run_id": point.run_id,
        "sweep": sweep.name,
        "curve": point.curve,
        "budget": point.budget,
        "setting": point.setting,
        "tuned": point.tuned,
        "retrained": point.retrained,
        "params": point.params,
        "params_convention": sweep.counting.params,
        "params_body": counts.body,
        "params_embedding": counts.embedding,
        "params_head": counts.head,
        "params_active": counts.active,
        "params_total": counts.total,
        "tokens": spec.tokens,
        "steps": spec.steps,
        "batch_tokens": spec.batch_tokens,
        "flops": point.flops,
        "flops_rule": sweep.counting.flops,
        "seed": spec.seed,
        "epochs": spec.tokens / corpus.epoch_tokens(spec.data),
        "mixture": json.dumps(dict(spec.data.weights)) if spec.data.weights else None,
        "family": kind_of("model", shape),
        "layers": shape.layers,
        "width": shape.width,
        "context": shape.context,
        "vocab": shape.vocab,
        "tied_head": shape.tied_head,
        "optimizer": kind_of("optimizer", spec.optimizer),
        "learning_rate": spec.optimizer.learning_rate,
        "schedule": spec.schedule.kind,
        "warmup_steps": spec.schedule.warmup_steps,
        "trunk": trunk[0] if trunk else None,
        "branch_tokens": spec.tokens_before(trunk[1]) if trunk else None,
        "precision": spec.precision,
        "recipe": spec.recipe,
        "corpus": corpus.hash,
        **(_blocks(shape) if isinstance(shape, Transformer) else {}),
    }


def _blocks(shape: Transformer) -> dict[str, Any]:
    """What only a transformer has."""
    return {
        "heads": shape.heads,
        "kv_heads": shape.key_heads,
        "ffn_width": shape.ffn_width,
        "activation": shape.activation,
        "positions": shape.positions,
        "qk_norm": shape.qk_norm,
        "experts": shape.experts,
        "active_experts": shape.active_experts,
    }

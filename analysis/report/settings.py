"""Section on the settings of a sweep: each against the baseline, with its noise and what would resolve it."""

from __future__ import annotations

from analysis import notation
from analysis.conventions import settings_of
from analysis.report.blocks import Block, Section, Text, grid, missing
from analysis.report.outcome import Failed, attempt
from analysis.report.summary import LEVEL, Summary
from analysis.settings import RESOLVED, Effect, Level, SettingsComparison, compare_settings, on_source, sources_of
from analysis.table import Runs

_MEANING = (
    "A setting's loss at a budget is the minimum of its IsoFLOP curve, or its lowest point where the curve has no minimum "
    "inside. An offset is this loss less the baseline's, so that a negative one is better. Numbers after ± are standard "
    "errors: from the runs' noise, and for the mean over budgets also from how much the budgets differ. An offset is resolved "
    "when it is more than {resolved:g} standard errors."
)


def comparison_section(summary: Summary) -> Section | None:
    """Settings side by side; None for a sweep of one."""
    if isinstance(summary.whole, Failed) or len(settings_of(summary.whole.frame)) < 2:
        return None
    whole = summary.whole
    names = settings_of(whole.frame)
    lead = f"{len(names)} settings. {_roles(names[0], summary.setting)} {_MEANING.format(resolved=RESOLVED)}"
    blocks: list[Block] = [Text(text=lead)]
    several = "mixture" in whole.frame and whole.frame["mixture"].nunique() > 1
    for source in sources_of(whole.frame) if several else [None]:
        blocks += _compared(whole if source is None else on_source(whole, source), source)
    answers = tuple(item for block in blocks if block.kind == "list" for item in block.items)
    return Section(name="comparison", title="Settings compared", blocks=tuple(blocks), answers=answers)


def _roles(baseline: str, fitted: str | None) -> str:
    if fitted == baseline:
        return f"{baseline} is the baseline, and the one that the sections below are fitted to."
    return f"{baseline} is the baseline; the sections below are fitted to {fitted}."


def _compared(runs: Runs, source: str | None) -> list[Block]:
    """All settings against the first, on one held-out text."""
    made = attempt(lambda: compare_settings(runs, level=LEVEL))
    if isinstance(made, Failed):
        return [missing("Settings could not be compared", made)]
    on = "" if source is None else f" (on {source})"
    verdicts = tuple(f"{effect.setting}{on}: {verdict(effect)}" for effect in made.effects)
    return [Text(kind="list", items=verdicts), _effects_grid(made, on), _levels_grid(made, on)]


def verdict(effect: Effect) -> str:
    """What can be said of a setting, in words."""
    value = f"{effect.offset:+.3f} nats"
    if effect.se is None:
        return f"{value}; the noise is unknown, so that nothing can be said. Add seeds."
    value = f"{effect.offset:+.3f} ± {effect.se:.3f} nats"
    if effect.resolved:
        words = f"{'better' if effect.offset < 0 else 'worse'} than the baseline, {value}"
        return f"{words}; {_trend(effect)}{_multiplier(effect)}."
    if effect.trend is not None and effect.trend_se is not None and abs(effect.trend) > RESOLVED * effect.trend_se:
        return f"no offset is resolved over all budgets, {value}, but {_trend(effect)}. Compare it at each budget."
    words = f"not resolved here, {value}; an offset of {effect.detectable or 0.0:.3f} would have shown"
    remedy = effect.remedy
    if remedy is None:
        return f"{words}. The budgets differ by more than their noise: compare it at each budget."
    if remedy.times > 1000:
        return f"{words}. One as small as this would take more than a thousand times the runs."
    return (
        f"{words}. To resolve one as small as this, make {remedy.times} times the runs at {notation.flops(remedy.budget)} "
        f"FLOPs: {notation.flops(remedy.flops)} FLOPs more."
    )


def _trend(effect: Effect) -> str:
    if effect.trend is None:
        return "one budget says nothing of larger ones"
    if effect.trend_se is None:
        return f"{effect.trend:+.3f} nats a decade of compute, of unknown noise"
    value = f"{effect.trend:+.3f} ± {effect.trend_se:.3f} nats a decade of compute"
    if abs(effect.trend) > RESOLVED * effect.trend_se:
        return f"the offset changes by {value}"
    seen = (RESOLVED + 0.84) * effect.trend_se
    return f"no change with compute is resolved ({value}; {seen:.3f} would have shown)"


def _multiplier(effect: Effect) -> str:
    if effect.comparison is None:
        return ""
    found = effect.comparison.multiplier
    span = notation.interval(found.interval, notation.number)
    level = notation.percent(found.interval.level)
    return f"; worth {notation.number(found.value)} times the baseline's compute ({level}: {span})"


def _effects_grid(made: SettingsComparison, on: str) -> Block:
    header = (
        "setting",
        "offset",
        "±",
        "would have shown",
        "change a decade",
        "±",
        "times the compute",
        f"{notation.percent(LEVEL)} interval",
        "verdict",
    )
    return grid(
        f"Loss less that of {made.baseline}, in nats: mean over the budgets that both have, and change a decade of compute{on}",
        header,
        (_effect_row(effect) for effect in made.effects),
        words_last=True,
    )


def _effect_row(effect: Effect) -> tuple[str, ...]:
    worth = effect.comparison and effect.comparison.multiplier
    seen = "better" if effect.offset < 0 else "worse"
    return (
        effect.setting,
        f"{effect.offset:+.3f}",
        notation.loss(effect.se),
        notation.loss(effect.detectable),
        "" if effect.trend is None else f"{effect.trend:+.3f}",
        notation.loss(effect.trend_se),
        notation.number(worth.value) if worth else "",
        notation.interval(worth.interval, notation.number) if worth else "",
        seen if effect.resolved else "not resolved here",
    )


def _levels_grid(made: SettingsComparison, on: str) -> Block:
    offsets = {(effect.setting, flops): pair for effect in made.effects for flops, *pair in effect.offsets}
    header = ("budget", "setting", "loss", "±", "N*", f"{notation.percent(LEVEL)} interval", "offset", "±", "runs")
    rows = (_level_row(level, offsets.get((level.setting, level.budget))) for level in made.levels)
    return grid(f"Every setting at every budget{on}", header, rows, text_columns=2)


def _level_row(level: Level, offset: list[float | None] | None) -> tuple[str, ...]:
    value, se = offset or (None, None)
    return (
        notation.flops(level.budget),
        level.setting,
        notation.loss(level.loss),
        notation.loss(level.se),
        notation.count(level.params),
        "lowest point" if level.params_interval is None else notation.interval(level.params_interval, notation.count),
        "" if value is None else f"{value:+.3f}",
        notation.loss(se),
        str(level.runs),
    )

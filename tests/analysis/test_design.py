"""Optimal design: derivatives, beliefs, what a run is worth, and the order of a pool."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.design.belief import Belief, Evidence, Noise, Prior, learn, likeliest, shrink
from analysis.design.bent import BentSurface
from analysis.design.pool import Suggestion, find_law, parse_spend, suggest
from analysis.design.priors import wide_prior
from analysis.design.selecting import absorb, gains
from analysis.design.surface import LinearSurface, Surface, form_surface
from analysis.design.targets import Exponent, LogParams, LossThere, Optimum, Region, Target
from analysis.errors import FitError, LawError, SourceError
from analysis.forms import FORMS, find_form

BENT = BentSurface(middle_n=np.log(1e8), middle_d=np.log(2e9), curves=3)
THETA = np.array(
    [0.6, -1.0, -0.9, np.log(0.35), np.log(0.3), 0.1, 0.02, -0.01, 0.05, -0.03, 0.0, 0.01, -0.02, 0.005, 0.01]
)
ADDITIVE = np.array([0.6, -1.0, -0.9, np.log(0.35), np.log(0.3), *np.zeros(10)])
TARGET = {"curve": -1.0, "off": 0.0}


def grid(count: int = 7) -> dict[str, np.ndarray]:
    budgets = np.repeat([1e17, 1e18, 1e19], count)
    params = np.tile(np.geomspace(0.2, 5, count), 3) * 1e8 * (budgets / 1e18) ** 0.5
    return {
        "params": params,
        "tokens": budgets / 6 / params,
        "curve": np.repeat([0.0, 1.0, 2.0], count),
        "off": np.log10(params / 1e8 / (budgets / 1e18) ** 0.5),
    }


def pool(count: int = 40) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    params = 10 ** rng.uniform(7, 10, count)
    return pd.DataFrame({"params": params, "tokens": params * 10 ** rng.uniform(0, 2.5, count)})


def prior(sd: float = 0.5, far: float = 1e-6) -> Prior:
    spread = np.r_[np.full(5, sd), 0.1, 0.02, 0.02, 0.05, 0.05, 0.05, np.full(4, far)]
    return Prior(mean=ADDITIVE, sd=spread, noise=Noise(sd=0.01, degrees=2))


def evidence(loss: np.ndarray, columns: dict[str, np.ndarray]) -> Evidence:
    n = len(loss)
    return Evidence(
        columns=columns, loss=loss, count=np.ones(n), squares=np.zeros(n), group=columns["curve"].astype(np.int64)
    )


def numeric_gradient(surface: Surface, theta: np.ndarray, columns: dict[str, np.ndarray]) -> np.ndarray:
    step = 1e-6
    rows = [
        (surface.predict(theta + step * e, columns)[0] - surface.predict(theta - step * e, columns)[0]) / (2 * step)
        for e in np.eye(len(theta))
    ]
    return np.stack(rows, axis=1)


def test_bent_surface_has_the_derivatives_of_its_values() -> None:
    columns = grid()
    _, jacobian = BENT.predict(THETA, columns)
    assert jacobian == pytest.approx(numeric_gradient(BENT, THETA, columns), rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("name", ["additive", "farseer", "kaplan-joint", "gamma"])
def test_forms_have_the_derivatives_of_their_values(name: str) -> None:
    columns = {name: values for name, values in grid().items() if name not in TARGET}
    surface = form_surface(find_form(name), columns)
    theta = wide_prior(surface, columns).mean
    value, jacobian = surface.predict(theta, columns)
    assert jacobian == pytest.approx(numeric_gradient(surface, theta, columns), rel=1e-4, abs=1e-7)
    assert surface.values(np.stack([theta + 0.1, theta]), columns)[1] == pytest.approx(value, rel=1e-12)


def test_without_bends_the_optimum_is_the_additive_law_s() -> None:
    """N* = (alpha A / (beta B))^(1/(alpha+beta)) (C/6)^(beta/(alpha+beta)), Hoffmann et al. 2022, equation 4."""
    alpha, beta = 0.35, 0.3
    log_a, log_b = -1.0 + alpha * np.log(1e8), -0.9 + beta * np.log(2e9)
    expected = (np.log(alpha / beta) + log_a - log_b + beta * np.log(1e21 / 6)) / (alpha + beta)
    optimum = Optimum(flops=1e21, near=1e9, extra=TARGET)
    assert LogParams(optimum).estimate(BENT, ADDITIVE).value[0] == pytest.approx(expected, abs=2e-5)
    assert Exponent(optimum).estimate(BENT, ADDITIVE).value[0] == pytest.approx(beta / (alpha + beta), abs=1e-4)


@pytest.mark.parametrize("kind", [LogParams, Exponent, LossThere])
def test_targets_have_the_derivatives_of_their_values(kind: type[LogParams]) -> None:
    target: Target = kind(Optimum(flops=1e21, near=1e9, extra=TARGET))
    step = 1e-4
    numeric = [
        (target.estimate(BENT, THETA + step * e).value[0] - target.estimate(BENT, THETA - step * e).value[0])
        / (2 * step)
        for e in np.eye(len(THETA))
    ]
    assert target.estimate(BENT, THETA).gradient[0] == pytest.approx(numeric, rel=0.01, abs=0.01)


def test_a_surface_without_optimum_is_refused() -> None:
    flat = ADDITIVE.copy()
    flat[2] = -60  # no D term: the larger the better
    with pytest.raises(LawError, match="no optimum"):
        LogParams(Optimum(flops=1e18, near=1e8, extra=TARGET)).estimate(BENT, flat)


def test_a_planted_law_is_learnt_with_honest_errors() -> None:
    columns = grid(9)
    truth, _ = BENT.predict(ADDITIVE, columns)
    target = LogParams(Optimum(flops=1e20, near=1e9, extra=TARGET))
    true_value = target.estimate(BENT, ADDITIVE).value[0]
    start = Prior(mean=ADDITIVE + np.r_[0.2, 0.3, -0.3, 0.2, -0.2, np.zeros(10)], sd=prior().sd, noise=prior().noise)
    scores = []
    for seed in range(40):
        noisy = truth + 0.005 * np.random.default_rng(seed).standard_normal(len(truth))
        belief = learn(BENT, start, evidence(noisy, columns))
        found = target.estimate(BENT, belief.theta)
        scores.append((found.value[0] - true_value) / np.sqrt(found.variances(belief.covariance)[0]))
        assert 0.002 < belief.common < 0.012
    assert np.sqrt(np.mean(np.square(scores))) < 1.2  # the prior's bends make the interval wider than the noise would


def test_beliefs_do_not_depend_on_the_order_of_rows() -> None:
    columns = grid()
    loss = BENT.predict(THETA, columns)[0] + 0.004 * np.random.default_rng(0).standard_normal(21)
    order = np.random.default_rng(1).permutation(21)
    one = learn(BENT, prior(), evidence(loss, columns))
    other = learn(BENT, prior(), evidence(loss[order], {name: values[order] for name, values in columns.items()}))
    assert one.theta == pytest.approx(other.theta, rel=1e-6, abs=1e-8)
    assert one.noise == pytest.approx(other.noise)


def test_of_two_priors_the_one_that_expected_the_runs_is_the_likelier() -> None:
    """Far departures are believed where the runs show them, and not where noise alone does."""
    columns = grid(11)
    priors = [prior(), prior(far=0.03)]
    chosen = []
    for departure in (0.0, 0.06):
        truth = BENT.predict(np.r_[ADDITIVE[:-4], departure, departure, 0, 0], columns)[0]
        for seed in range(10):
            seen = evidence(truth + 0.003 * np.random.default_rng(seed).standard_normal(33), columns)
            near = learn(BENT, priors[0], seen).theta
            chosen.append(likeliest(BENT, priors, seen, near) is priors[1])
    assert sum(chosen[:10]) <= 2
    assert sum(chosen[10:]) >= 8


def test_what_surprises_is_the_probability_of_the_runs() -> None:
    """Of a linear surface, given the noise that was found: minus twice the log density of a normal, J P J' + R."""
    rng = np.random.default_rng(0)
    jacobian, at = rng.standard_normal((12, 2)), np.zeros(2)
    linear = LinearSurface(("one", "other"), at, np.zeros(12), jacobian)
    loss = rng.standard_normal(12)
    seen = Evidence(columns={}, loss=loss, count=np.ones(12), squares=np.zeros(12), group=np.zeros(12, dtype=np.int64))
    for sd in (0.5, 2.0):
        belief = learn(linear, Prior(mean=at, sd=np.full(2, sd), noise=Noise(sd=0.7, degrees=20)), seen)
        covariance = sd**2 * jacobian @ jacobian.T + belief.noise[0] ** 2 * np.eye(12)
        exact = loss @ np.linalg.solve(covariance, loss) + np.linalg.slogdet(covariance)[1]
        of_noise = 20 * (np.log(belief.common**2) + 0.7**2 / belief.common**2)
        assert belief.surprise == pytest.approx(exact + of_noise, abs=0.01)


def test_noise_of_every_curve_is_learnt() -> None:
    columns = grid(30)
    sd = np.array([0.03, 0.01, 0.003])[columns["curve"].astype(int)]
    loss = BENT.predict(ADDITIVE, columns)[0] + sd * np.random.default_rng(0).standard_normal(90)
    noise = learn(BENT, prior(), evidence(loss, columns)).noise
    assert noise[0] == pytest.approx(0.03, rel=0.4)
    assert noise[1] == pytest.approx(0.01, rel=0.4)
    assert noise[0] > 2 * noise[1] > 2 * noise[2]


def known() -> Belief:
    columns = grid()
    return learn(BENT, prior(), evidence(BENT.predict(ADDITIVE, columns)[0], columns))


def test_gains_are_what_the_variance_falls_by() -> None:
    belief, columns = known(), grid(5)
    target = Region(grid(3)).estimate(BENT, belief.theta)
    _, jacobian = BENT.predict(belief.theta, columns)
    before = target.variances(belief.covariance).mean()
    for worth, row in zip(gains(belief, target, jacobian, np.full(15, 0.01)), jacobian, strict=True):
        after = target.variances(shrink(belief, row, 0.01).covariance).mean()
        assert worth == pytest.approx(before - after, rel=1e-6, abs=1e-12)


def test_runs_under_way_count_as_seen_in_any_order() -> None:
    belief = known()
    _, jacobian = BENT.predict(belief.theta, grid(2))
    noise = np.full(6, 0.01)
    forward, backward = absorb(belief, jacobian, noise), absorb(belief, jacobian[::-1], noise)
    information = np.linalg.inv(belief.covariance) + jacobian.T @ jacobian / 0.01**2
    assert forward.covariance == pytest.approx(backward.covariance, rel=1e-6, abs=1e-12)
    assert forward.covariance == pytest.approx(np.linalg.inv(information), rel=1e-4, abs=1e-9)


# --- a pool of one's own


def same(one: Suggestion, other: Suggestion) -> bool:
    return json.dumps(one.to_json()) == json.dumps(other.to_json())


def test_losses_of_pool_and_target_are_never_read() -> None:
    rng = np.random.default_rng(0)
    plain = suggest(pool(), target=pool(5), spend="30%")
    rubbish = pool().assign(loss=rng.choice(np.array([np.nan, -1.0, np.inf, 7.0]), 40))
    assert same(plain, suggest(rubbish, target=pool(5).assign(loss="secret"), spend="30%"))
    assert same(
        plain, suggest(rubbish.rename(columns={"loss": "L"}), target=pool(5), spend="30%", columns={"loss": "L"})
    )


def test_what_is_spent_stays_below_the_limit_and_each_run_teaches() -> None:
    made = suggest(pool(), target=1e22, spend="25%")
    assert made.flops_limit == pytest.approx(0.25 * made.flops_pool)
    assert made.picks[-1].spent <= made.flops_limit * (1 + 1e-9)
    assert made.picks[-1].spent == pytest.approx(sum(pick.flops for pick in made.picks))
    errors = [made.se_before, *(pick.se for pick in made.picks)]
    assert errors == sorted(errors, reverse=True)
    assert len({pick.row for pick in made.picks}) == len(made.picks)
    assert all(pick.low is not None and pick.high is not None and pick.low < pick.high for pick in made.picks)


def test_observed_runs_are_known_and_not_suggested() -> None:
    table = pool()
    seen = table.iloc[:15].assign(loss=lambda f: 1.8 + 480 / f.params**0.35 + 2000 / f.tokens**0.37)
    without = suggest(table, target=pool(5), spend="30%")
    made = suggest(table, target=pool(5), spend="30%", observed=seen)
    assert made.se_before < 0.2 * without.se_before
    assert min(pick.row for pick in made.picks) > 15
    with pytest.raises(FitError, match="every run of the pool"):
        suggest(table.iloc[:15], target=pool(5), spend="30%", observed=seen)


def test_a_published_law_is_a_prior() -> None:
    vague = suggest(pool(), target=1e22, spend="10%")
    sharp = suggest(pool(), target=1e22, spend="10%", law_name="besiroglu2024")
    assert sharp.se_before < vague.se_before
    assert "besiroglu2024" in sharp.prior


@pytest.mark.parametrize("name", sorted(FORMS))
def test_every_form_of_the_registry_can_be_planned_for(name: str) -> None:
    rng = np.random.default_rng(5)
    table = pool(30)
    for column in FORMS[name].columns:
        if column not in table:
            table[column] = (
                10 ** rng.uniform(0.3, 1.0, 30) if "bits" in column or "gran" in column else table["tokens"] / 3
            )
    table["flops"] = 6 * table["params"] * table["tokens"]
    made = suggest(table, target=table.iloc[-3:], spend="50%", law_name=name)
    assert made.picks[-1].se < made.se_before


def test_shares_and_flops() -> None:
    assert parse_spend("5%", 200.0) == 10
    assert parse_spend("1e21", 200.0) == 1e21
    for wrong in ("much", "-1", "0%", "nan"):
        with pytest.raises(FitError, match="expected a share"):
            parse_spend(wrong, 1.0)


def test_mistakes_are_named() -> None:
    with pytest.raises(SourceError, match="--map params=COLUMN"):
        suggest(pool().rename(columns={"params": "weights"}), target=1e22, spend="5%")
    with pytest.raises(SourceError, match="row 3"):
        suggest(pool().assign(tokens=lambda f: f.tokens.where(f.index != 2, 0)), target=1e22, spend="5%")
    with pytest.raises(LawError, match="expected a form of params"):
        suggest(pool().assign(unique_tokens=1e9), target=1e22, spend="5%", law_name="repeated-data")
    with pytest.raises(LawError, match="allocation and no loss"):
        find_law("20-tokens-per-param")
    with pytest.raises(FitError, match="nothing fits"):
        suggest(pool(), target=1e22, spend="1")


def test_farseer_pool_within_five_percent(shared_data: Path) -> None:
    made = suggest(
        shared_data / "scalebench_farseer_train.parquet", law_name="farseer",
        target=shared_data / "scalebench_farseer_test.parquet", spend="5%", columns={"params": "N", "tokens": "D"},
    )  # fmt: skip
    assert made.picks[-1].spent <= 0.05 * made.flops_pool * (1 + 1e-9)
    assert made.picks[-1].se < 0.1 * made.se_before

"""What worker time costs in money and energy, by the user's own figures; every number here is an estimate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.sweep import Sweep

HOUR = 3600.0


@dataclass(frozen=True, kw_only=True)
class Rate:
    """What one worker costs while it works.

    Attributes:
        gpus: GPUs of one worker; fractions share one.
        money_per_hour: Price; None where what it uses has none.
        currency: Of the price.
        watts: Power; None where none is given.
    """

    gpus: float
    money_per_hour: float | None
    currency: str
    watts: float | None

    def gpu_hours(self, seconds: float) -> float:
        """GPU hours of so many worker seconds."""
        return self.gpus * seconds / HOUR

    def money(self, seconds: float) -> float | None:
        """Price of so many worker seconds."""
        return None if self.money_per_hour is None else self.money_per_hour * seconds / HOUR

    def kilowatt_hours(self, seconds: float) -> float | None:
        """Energy of so many worker seconds."""
        return None if self.watts is None else self.watts / 1000 * seconds / HOUR

    def document(self, seconds: float) -> dict[str, Any]:
        """Estimates as plain values: GPU hours, money with its currency, and energy; None where not known."""
        return {
            "gpu_hours": self.gpu_hours(seconds),
            "money": self.money(seconds),
            "currency": None if self.money_per_hour is None else self.currency,
            "kilowatt_hours": self.kilowatt_hours(seconds),
        }

    def text(self, seconds: float) -> str:
        """`1.20 USD, 0.8 kWh (estimates)`; empty where neither is known."""
        return cost_text(self.document(seconds))


def cost_text(estimates: Mapping[str, Any]) -> str:
    """The estimates of `Rate.document` in words."""
    money, energy = estimates["money"], estimates["kilowatt_hours"]
    parts = [] if money is None else [f"{money:{'.2f' if money >= 1 else '.2g'}} {estimates['currency']}"]
    parts += [] if energy is None else [f"{energy:.2g} kWh"]
    return f"{', '.join(parts)} (estimate{'s' if len(parts) > 1 else ''})" if parts else ""


def rate_of(sweep: Sweep) -> Rate:
    """The rate of a sweep's workers: its prices and watts times its resources."""
    cost, resources = sweep.cost, sweep.resources
    money = ((cost.per_gpu_hour, resources.gpus), (cost.per_cpu_hour, resources.cpus))
    power = ((cost.watts_per_gpu, resources.gpus), (cost.watts_per_cpu, resources.cpus))
    return Rate(
        gpus=resources.gpus, money_per_hour=_total(money), currency=cost.currency, watts=_total(power)
    )  # fmt: skip


def _total(parts: tuple[tuple[float | None, float], ...]) -> float | None:
    """Sum of figure x amount over what is used; None where no figure applies."""
    applying = [figure * amount for figure, amount in parts if figure is not None and amount]
    return sum(applying) if applying else None

"""How long the rest of a long job will take, and within which range: judged from what its slices took so far.

It knows a pace and a number of items; what a finish time is, `progress` knows.

The ways in which a job can behave are followed side by side:

- steady: every item costs about the same, slices scatter around it;
- wandering, slowly or quickly: the cost drifts about without a direction (other load, a slow server);
- trending: items become dearer or cheaper by and by (a growing table, work sorted by size).

Each is a linear model whose level and slope a Kalman filter follows along the stretches of the pace. It
foretells every stretch from those before; how well it did is its weight. The forecast is the median and the
central nine tenths of the weighted mixture. So noise widens the range, evidence narrows it, and a trend is
believed in the measure in which it shows. Whatever the past says, the future may bring something new: a share
for that, shrinking towards the end, is always in the range.

Sources: M. West and J. Harrison, Bayesian Forecasting and Dynamic Models (2nd edition, 1997), chapter 12:
multi-process models of class I. R. J. Hyndman and others, Forecasting with Exponential Smoothing (2008),
chapter 6: the distribution of a sum of future values. R. E. Kass and L. Wasserman, A Reference Bayesian Test
for Nested Hypotheses (1995): the unit information prior, here of the slope. The constants were set by replays
of many kinds of jobs; the tests hold some of them.
"""

from __future__ import annotations

from math import erfc, exp, log, log1p, sqrt
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from posthorse.rules.pace import Pace

NINE_TENTHS = 1.645  # the central nine tenths of a normal distribution lie within so many deviations
NEW_EACH_WAY = 0.12  # relative deviation that the unseen future may bring to a whole job
SLICE_NOISE = 0.04  # before anything is known: the variance of a slice's cost relative to the mean …
SLICE_NOISE_SHAPE = 1.5  # … which counts as much as three slices
COLD_START = 5  # from more stretches than this, the first one is left out
STEEPEST = 0.25  # trends never take the cost below this share of today's


class Forecast(msgspec.Struct, frozen=True):
    """Seconds of work for what remains: the median, and the central nine tenths."""

    low: float
    median: float
    high: float


class _Behaviour(msgspec.Struct, frozen=True):
    odds: float
    wander: float  # variance of the level's step from stretch to stretch, in units of the noise
    has_trend: bool


_BEHAVIOURS = (
    _Behaviour(odds=5.0, wander=0.0, has_trend=False),
    _Behaviour(odds=3.0, wander=0.2, has_trend=False),
    _Behaviour(odds=2.0, wander=2.0, has_trend=False),
    _Behaviour(odds=2.0, wander=0.0, has_trend=True),
)


class _Stretch(msgspec.Struct, frozen=True):
    weight: float  # items, in units of the mean stretch
    cost: float  # seconds an item, in units of the mean
    distance: float  # from the middle of the stretch before to the middle of this one


class _Opinion(msgspec.Struct, frozen=True):
    """What one behaviour predicts for the rest: a log-normal distribution, and the logarithm of its weight."""

    log_weight: float
    log_median: float
    deviation: float


def forecast(pace: Pace, remaining: int) -> Forecast | None:
    """Forecast the seconds of work for `remaining` more items; None before any item was done."""
    history = pace.stretches()
    if len(history) > COLD_START:
        history = history[1:]  # imports, caches, connections: the first stretch says least about the rest
    items_done = sum(items for items, _ in history)
    seconds_done = sum(seconds for _, seconds in history)
    if items_done == 0:
        return None
    if seconds_done <= 0.0 or remaining <= 0:
        return Forecast(0.0, 0.0, 0.0)
    mean_items = items_done / len(history)
    stretches = _normalised(history, mean_items, seconds_done / items_done)
    slices_per_stretch = max(1.0, pace.slices / len(history))
    new = NEW_EACH_WAY**2 * remaining / (remaining + items_done)
    opinions = [
        _opinion(behaviour, stretches, slices_per_stretch, remaining / mean_items, new)
        for behaviour in _BEHAVIOURS
        if not behaviour.has_trend or len(stretches) > 3
    ]
    low, median, high = _quantiles(opinions, (-NINE_TENTHS, 0.0, NINE_TENTHS))
    mean_seconds = seconds_done / len(history)
    return Forecast(low=mean_seconds * low, median=mean_seconds * median, high=mean_seconds * high)


def _normalised(history: Sequence[tuple[int, float]], mean_items: float, mean_cost: float) -> list[_Stretch]:
    stretches: list[_Stretch] = []
    weight_before = 0.0
    for items, seconds in history:
        weight = items / mean_items
        stretches.append(_Stretch(weight, seconds / items / mean_cost, (weight_before + weight) / 2))
        weight_before = weight
    return stretches


def _opinion(
    behaviour: _Behaviour, stretches: Sequence[_Stretch], slices_per_stretch: float, ahead: float, new: float
) -> _Opinion:
    """Follow the stretches under one behaviour, then add up what lies ahead.

    The variances are in units of the noise of one stretch, which is estimated last, from all forecast errors.
    """
    first = stretches[0]
    level, slope = first.cost, 0.0
    level_variance, covariance = 1.0 / first.weight, 0.0
    # The prior of the slope weighs as much as one of evenly spaced stretches.
    slope_variance = 12.0 / len(stretches) ** 2 if behaviour.has_trend else 0.0
    squared_errors = log_determinant = 0.0

    for stretch in stretches[1:]:
        distance = stretch.distance
        level += slope * distance
        level_variance += distance * (2.0 * covariance + distance * slope_variance + behaviour.wander)
        covariance += distance * slope_variance
        error = stretch.cost - level
        expected = level_variance + 1.0 / stretch.weight
        squared_errors += error * error / expected
        log_determinant += log(expected)
        level_gain, slope_gain = level_variance / expected, covariance / expected
        level += level_gain * error
        slope += slope_gain * error
        slope_variance -= slope_gain * covariance
        covariance -= level_gain * covariance
        level_variance -= level_gain * level_variance

    half = stretches[-1].weight / 2  # from the middle of the last stretch to its end
    level += slope * half
    level_variance += half * (2.0 * covariance + half * slope_variance + behaviour.wander)
    covariance += half * slope_variance

    shape = SLICE_NOISE_SHAPE + (len(stretches) - 1) / 2
    scale = SLICE_NOISE_SHAPE * SLICE_NOISE / slices_per_stretch + squared_errors / 2
    noise = scale / shape * (1.0 + 1.1 / shape)  # the noise itself is uncertain: wider tails
    cheapest = max(STEEPEST * min(1.0, stretches[-1].cost), 1e-6)
    total = ahead * max(level + slope * ahead / 2, cheapest)
    uncertain_slope = ahead * (covariance + ahead * slope_variance / 4)
    uncertain_level = ahead * (level_variance + uncertain_slope + ahead * behaviour.wander / 3)
    variance = noise * ahead * (1.0 + uncertain_level)
    return _Opinion(
        log_weight=log(behaviour.odds) - log_determinant / 2 - shape * log(scale),
        log_median=log(total),
        deviation=sqrt(log1p(variance / total**2) + new),
    )


def _quantiles(opinions: Sequence[_Opinion], scores: Sequence[float]) -> list[float]:
    """Return the quantiles of the mixture of opinions; `scores` are those of a standard normal distribution."""
    best = max(opinion.log_weight for opinion in opinions)
    weights = [exp(opinion.log_weight - best) for opinion in opinions]
    parts = [
        (weight / sum(weights), opinion.log_median, 1.0 / (sqrt(2) * opinion.deviation))
        for weight, opinion in zip(weights, opinions, strict=True)
    ]
    quantiles: list[float] = []
    for score in scores:
        probability = erfc(-score / sqrt(2)) / 2
        own = [opinion.log_median + score * opinion.deviation for opinion in opinions]
        low, high = min(own), max(own)  # the mixture's quantile lies between those of its parts
        while high - low > 1e-3:
            middle = (low + high) / 2
            below = 0.0
            for weight, log_median, precision in parts:
                below += weight * erfc((log_median - middle) * precision)
            if below / 2 < probability:
                low = middle
            else:
                high = middle
        quantiles.append(exp((low + high) / 2))
    return quantiles

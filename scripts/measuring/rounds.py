"""Rounds: the order in which binaries are measured, and whether two of them differ by more than noise.

Old and new run in turn within every round, so that both meet the same minutes of the machine; every second round turns
their order around. Each round gives one ratio new / old. Two figures are made of them: the ratio of the two medians,
which a single bad round does not move, and the median of the rounds' ratios, from which slow drift of the machine cancels.

A row is `worse` when all of these hold:

  1. the ratio of the medians is beyond the tolerance;
  2. the median of the ratios is beyond the tolerance;
  3. it is beyond the noise: the interval that holds the true median of the ratios lies wholly on the worse side of 1. The
     interval is made of order statistics (from the k-th least to the k-th largest ratio), so nothing is assumed about how the
     ratios are distributed. It has 95 % confidence for all rows of the table together, 1 - 5 % / rows for each: else a table
     of 30 rows would have a worse one by chance in every second run on a noisy machine.

`better` is the mirror image; `same` is a row with both figures within the tolerance; `unclear` is everything else. Where the
rounds are too few for such an interval (6 for one row, 11 for 51), a row is `not judged`.
"""
import statistics
from dataclasses import dataclass
from math import comb

CHANCE_MAX = 0.05  # of a verdict worse or better anywhere in a table where nothing differs
COMPARED_ROUNDS = 11  # enough for 51 rows


def in_turn(names, round_number):
    """The order of this round (from 0 on)."""
    names = list(names)
    return names if round_number % 2 == 0 else names[::-1]


def median(values):
    """The median of what is there; None of nothing."""
    there = [value for value in values if value is not None]
    return statistics.median(there) if there else None


def quartiles(values):
    """The values a quarter and three quarters of the way through."""
    ordered = sorted(values)
    return ordered[len(ordered) // 4], ordered[len(ordered) * 3 // 4]


def spread_percent(values):
    """Largest less least, in percent of the median."""
    middle = median(values)
    return (max(values) - min(values)) / middle * 100 if middle else None


def rounds_needed(rows):
    """The least number of rounds with which a table of so many rows can be judged."""
    return next(count for count in range(1, 100) if 2 / 2**count <= CHANCE_MAX / rows)


def interval(ratios, rows=1):
    """The order statistics that hold the true median, and with how much confidence; None where the ratios are too few."""
    ordered, count = sorted(ratios), len(ratios)
    best = None
    for skipped in range(count // 2):
        # The true median is below the k-th least with the chance that fewer than k of the rounds fell below it.
        outside = 2 * sum(comb(count, below) for below in range(skipped + 1)) / 2**count
        if outside <= CHANCE_MAX / rows:
            best = (ordered[skipped], ordered[count - 1 - skipped]), 1 - outside
    return best


@dataclass(frozen=True)
class Comparison:
    """One figure of one row, old against new."""

    old: float
    new: float
    ratio_of_medians: float
    median_of_ratios: float
    ratios: list
    interval: tuple  # least and largest ratio of all rounds where there are too few for an interval
    confidence: float  # None there
    verdict: str


def pairs_of(old, new):
    """The rounds that have a ratio."""
    return [(a, b) for a, b in zip(old, new) if a and b and a > 0 and b > 0]


def compare(pairs, better, tolerance_percent, rows=1):
    """Compares (old, new) of every round, of which `better` ("lower" or "higher") is good, as one of so many rows."""
    ratios = [b / a for a, b in pairs]
    old_median, new_median = median(a for a, _ in pairs), median(b for _, b in pairs)
    found = interval(ratios, rows)
    (low, high), confidence = found or ((min(ratios), max(ratios)), None)
    of_medians, of_ratios = new_median / old_median, median(ratios)
    verdict = judge((of_medians, of_ratios), found and found[0], better, tolerance_percent)
    return Comparison(old_median, new_median, of_medians, of_ratios, ratios, (low, high), confidence, verdict)


def judge(middles, bounds, better, tolerance_percent):
    """The verdict on both middle ratios new / old and the interval about them."""
    if bounds is None:
        return "not judged"
    if better == "higher":  # turned into how many times as long the same work takes
        middles, bounds = [1 / ratio for ratio in middles], (1 / bounds[1], 1 / bounds[0])
    tolerance = tolerance_percent / 100
    if all(1 - tolerance <= ratio <= 1 + tolerance for ratio in middles):
        return "same"
    if min(middles) > 1 + tolerance and bounds[0] > 1:
        return "worse"
    if max(middles) < 1 - tolerance and bounds[1] < 1:
        return "better"
    return "unclear"

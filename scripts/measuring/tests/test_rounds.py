"""The verdict: fails on a worse row, passes on noise."""
import random
import unittest

from measuring import rounds


def noisy(middle, percent, count, seed):
    """So many rounds about a figure, within some percent of it."""
    drawn = random.Random(seed)
    return [middle * (1 + drawn.uniform(-percent, percent) / 100) for _ in range(count)]


class Verdict(unittest.TestCase):
    def verdict(self, old, new, better="lower", tolerance=3):
        return rounds.compare(rounds.pairs_of(old, new), better, tolerance).verdict

    def test_a_worse_row_is_worse(self):
        for count in [6, 9, 21]:
            old, new = noisy(100, 2, count, 1), noisy(110, 2, count, 2)
            self.assertEqual(self.verdict(old, new), "worse")
            self.assertEqual(self.verdict(new, old), "better")

    def test_where_more_is_better_it_is_the_other_way_round(self):
        old, new = noisy(100, 2, 9, 1), noisy(90, 2, 9, 2)
        self.assertEqual(self.verdict(old, new, "higher"), "worse")
        self.assertEqual(self.verdict(new, old, "higher"), "better")

    def test_noise_is_not_worse(self):
        drawn = random.Random(5)
        count, rows, tables, worse = rounds.COMPARED_ROUNDS, 30, 100, 0
        for _ in range(tables):
            pairs = [[(drawn.lognormvariate(5, .3), drawn.lognormvariate(5, .3)) for _ in range(count)] for _ in range(rows)]
            worse += any(rounds.compare(row, "lower", 3, rows).verdict == "worse" for row in pairs)
        # Half of what is allowed is on the better side.
        self.assertLessEqual(worse / tables, rounds.CHANCE_MAX)

    def test_a_difference_within_the_tolerance_is_the_same(self):
        self.assertEqual(self.verdict([100.0] * 9, [102.9] * 9), "same")
        self.assertEqual(self.verdict([100.0] * 9, [103.1] * 9), "worse")
        self.assertEqual(self.verdict([100.0] * 9, [110.0] * 9, tolerance=15), "same")

    def test_one_bad_round_decides_nothing(self):
        self.assertEqual(self.verdict([100.0] * 9, [100.0] * 8 + [400.0]), "same")

    def test_rounds_that_disagree_are_unclear(self):
        self.assertEqual(self.verdict([100.0] * 6, [90.0, 110, 112, 115, 120, 91]), "unclear")

    def test_drift_that_both_meet_is_not_a_difference(self):
        machine = [1, 1.3, 1.7, 2.2, 2.9, 3.7, 4.8, 6.3, 8.2]
        old, new = [100 * speed for speed in machine], [110 * speed for speed in machine]
        self.assertEqual(self.verdict(old, new), "worse")
        self.assertEqual(self.verdict(old, old), "same")

    def test_few_rounds_are_not_judged(self):
        self.assertEqual(self.verdict([100.0] * 5, [200.0] * 5), "not judged")
        self.assertEqual(self.verdict([100.0] * 6, [200.0] * 6), "worse")

    def test_rounds_without_a_figure_are_left_out(self):
        pairs = rounds.pairs_of([None, 100.0, 0, 100.0], [1.0, 150.0, 5.0, 120.0])
        self.assertEqual(pairs, [(100, 150), (100, 120)])


class Interval(unittest.TestCase):
    def test_it_skips_as_many_as_95_percent_allow(self):
        # From tables of the sign test: ranks of the interval of the median.
        for count, rank, confidence in [(6, 1, 0.969), (8, 1, 0.992), (9, 2, 0.961), (12, 3, 0.961), (20, 6, 0.959)]:
            (low, high), sure = rounds.interval([float(i) for i in range(count, 0, -1)])
            self.assertEqual((low, high), (rank, count + 1 - rank))
            self.assertAlmostEqual(sure, confidence, places=3)

    def test_many_rows_need_more_rounds(self):
        for rows, needed in [(1, 6), (4, 8), (33, 11), (51, rounds.COMPARED_ROUNDS), (52, 12)]:
            self.assertEqual(rounds.rounds_needed(rows), needed)
            self.assertIsNone(rounds.interval([1.0] * (needed - 1), rows))
            self.assertIsNotNone(rounds.interval([1.0] * needed, rows))

    def test_it_holds_the_true_median_as_often_as_it_says(self):
        drawn = random.Random(7)
        held = 0
        for _ in range(500):
            (low, high), sure = rounds.interval([drawn.lognormvariate(0, 0.3) for _ in range(9)])
            held += low <= 1 <= high
        self.assertGreater(held / 500, 0.93)


class Order(unittest.TestCase):
    def test_every_second_round_turns_it_around(self):
        self.assertEqual([rounds.in_turn({"new": 1, "old": 2}, i) for i in range(3)],
                         [["new", "old"], ["old", "new"], ["new", "old"]])

    def test_figures_of_rounds(self):
        self.assertEqual(rounds.median([3, None, 1, 2]), 2)
        self.assertIsNone(rounds.median([]))
        self.assertEqual(rounds.quartiles([4, 1, 3, 2]), (2, 4))


if __name__ == "__main__":
    unittest.main()

"""The report: what its table, its object and the exit status say of given figures."""
import argparse
import json
import types
import unittest

from measuring import report
from measuring.quantities import decimals
from measuring.results import Column
from measuring.session import Session

EXPERIMENT = types.SimpleNamespace(COLUMNS=[Column("ns", "ns/key", decimals(0), better="lower"),
                                            Column("rate", "keys/s", decimals(0)), Column("absent", "absent", decimals(0))])


def session(old=None, new=100.0, rounds=6):
    made = Session("example", argparse.Namespace(rounds=rounds), {}, None)
    for _ in range(rounds):
        made.record("get", "text", {"ns": new, "rate": 7}, "new")
        if old:
            made.record("get", "text", {"ns": old}, "old")
        made.record("get", "memcached", {"ns": 900.0})
    return made


class Report(unittest.TestCase):
    def test_a_worse_row_fails_and_is_named(self):
        made = session(old=80.0)
        self.assertTrue(report.is_failed(made, EXPERIMENT, 3))
        text = "\n".join(report.text(made, EXPERIMENT, 3))
        self.assertIn("WORSE get, text: ns/key +25.0 %", text)
        self.assertIn("worse *", text)

    def test_equal_rows_pass(self):
        self.assertFalse(report.is_failed(session(old=100.0), EXPERIMENT, 3))

    def test_few_rounds_are_marked_and_pass(self):
        made = session(old=80.0, rounds=2)
        self.assertFalse(report.is_failed(made, EXPERIMENT, 3))
        self.assertIn("not judged *", "\n".join(report.text(made, EXPERIMENT, 3)))

    def test_a_broken_rule_fails_for_the_new_binary_only(self):
        made = session()
        made.check("old", False, "too large")
        self.assertFalse(report.is_failed(made, EXPERIMENT, 3))
        made.check("new", True, "fine")
        made.check("new", False, "too large")
        self.assertTrue(report.is_failed(made, EXPERIMENT, 3))
        lines = report.text(made, EXPERIMENT, 3)
        self.assertIn("old: too large", lines)
        self.assertIn("FAILED too large", lines)

    def test_the_table_has_a_row_for_each_subject_and_only_columns_with_figures(self):
        lines = report.text(session(old=100.0), EXPERIMENT, 3)
        self.assertEqual([line.split() for line in lines[:5]], [
            ["ns/key", "spread", "%", "keys/s"], ["get"], ["text", "100", "0", "7"], ["text", "(old)", "100", "0", "–"],
            ["memcached", "900", "0", "–"]])

    def test_what_is_skipped_appears_once(self):
        made = session()
        made.skip("memcached", "it is not installed")
        made.skip("memcached", "it is not installed")
        self.assertEqual(report.text(made, EXPERIMENT, 3).count("SKIPPED memcached: it is not installed"), 1)

    def test_the_object_has_every_round_and_the_medians(self):
        made = json.loads(json.dumps(report.as_object(session(old=80.0), EXPERIMENT, 3)))
        row = made["rows"][0]
        self.assertEqual((row["case"], row["subject"], row["binary"]), ("get", "text", "new"))
        self.assertEqual(row["medians"], {"ns": 100, "rate": 7})
        self.assertEqual(len(row["rounds"]), 6)
        self.assertEqual(made["comparisons"][0]["verdict"], "worse")
        self.assertTrue(made["is_failed"])


if __name__ == "__main__":
    unittest.main()

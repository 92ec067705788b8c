"""Counts of memcached's test files, from what they print."""
import unittest

from public_clients.memcached_tests import counted, need


class Tap(unittest.TestCase):
    def test_a_whole_run(self):
        outcome = counted("1..3\nok 1\nnot ok 2 - x\n#   Failed\nok 3 # skip no such thing\n", 1)
        self.assertEqual((outcome.passed, outcome.failed, outcome.skipped), (1, ["not ok 2 - x"], 1))

    def test_a_run_that_ended_early_has_failed(self):
        outcome = counted("1..3\nok 1\nstand-in cannot -S: SASL\nFailed to connect\n", 255)
        self.assertEqual(outcome.failed, ["ended after 1 of 3: stand-in cannot -S: SASL"])
        self.assertEqual(len(counted("ok 1\n", 2).failed), 1)
        self.assertEqual(len(counted("", 2).failed), 1)
        self.assertEqual(counted("1..2\nok 1\n", -9, is_late=True).failed, ["not done after 240 s"])

    def test_a_file_that_skips_itself_was_not_run(self):
        self.assertEqual(counted("1..0 # SKIP no TLS\n", 0).why, "skips itself: no TLS")

    def test_files_that_need_more_are_named(self):
        for name in ("proxyunits.t", "ssl_ports.t", "extstore.t", "binary-sasl.t", "slabs-mover.t", "watcher.t", "restart.t", "udp.t"):
            self.assertTrue(need(name), name)
        for name in ("getset.t", "metaget.t", "unixsocket.t", "stats.t", "maxconns.t", "issue_41.t", "cas.t"):
            self.assertEqual(need(name), "", name)


if __name__ == "__main__":
    unittest.main()

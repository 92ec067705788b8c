"""Servers as children: they start or say why not, and they end with the measurement."""
import os
import tempfile
import unittest

from measuring import harness
from measuring.trouble import Trouble

READY = "sherwood ready on 127.0.0.1:1 with a worker"


class Children(unittest.TestCase):
    def fake(self, script):
        """A program that does what the script says."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path = os.path.join(folder.name, "sherwood")
        with open(path, "w") as file:
            file.write(f"#!/bin/sh\n{script}\n")
        os.chmod(path, 0o755)
        return path

    def test_the_address_is_in_the_ready_line_wherever_that_is(self):
        with harness.Sherwood(self.fake(f"echo something first >&2; echo {READY}; exec sleep 1000")) as server:
            self.assertEqual((server.ready, server.address), (READY, "127.0.0.1:1"))

    def test_a_server_that_does_not_start_is_an_error_with_its_output(self):
        with self.assertRaisesRegex(Trouble, "sherwood did not start: no memory today"):
            harness.Sherwood(self.fake("echo no memory today >&2; exit 1"))

    def test_a_server_ends_with_the_measurement_also_where_that_fails(self):
        server = harness.Sherwood(self.fake(f"echo {READY}; exec sleep 1000"))
        with self.assertRaises(Trouble), server:
            raise Trouble("interrupted")
        self.assertIsNotNone(server.process.returncode)

    def test_a_child_is_pinned_and_this_process_is_not(self):
        before = os.sched_getaffinity(0)
        with harness.pinned(str(min(before))):
            self.assertEqual(os.sched_getaffinity(0), {min(before)})
        self.assertEqual(os.sched_getaffinity(0), before)

    def test_a_processor_that_does_not_exist_is_an_error(self):
        with self.assertRaisesRegex(Trouble, "CPU 1023 cannot be used"), harness.pinned("1023"):
            pass


if __name__ == "__main__":
    unittest.main()

"""What is written by people: sizes, counts, options, names of experiments."""
import contextlib
import io
import unittest

from measuring import cli, harness, quantities


class CommandLine(unittest.TestCase):
    def main(self, *words):
        """Exit status and what it wrote."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                status = cli.main(list(words))
            except SystemExit as end:
                status = end.code
        return status, out.getvalue(), err.getvalue()

    def test_every_experiment_is_listed_and_explains_itself(self):
        status, listed, _ = self.main("--list")
        self.assertEqual(status, 0)
        self.assertEqual([line.split()[0] for line in listed.splitlines()], cli.names())
        for name in cli.names():
            status, text, _ = self.main(name, "--help")
            self.assertEqual(status, 0)
            for option in ["--rounds", "--new", "--old", "--tolerance", "--json"]:
                self.assertIn(option, text)

    def test_wrong_use_is_status_2_with_the_remedy(self):
        for words, remedy in [
            ([], ""), (["loopbak"], "did you mean loopback?"), (["loopback", "--foo"], "unrecognized arguments: --foo"),
            (["loopback", "--rounds", "0"], "too small"), (["loopback", "--memory", "10GB"], "write 10GiB or 512MiB"),
            (["loopback", "--keys", "many"], "write 100000, 100k or 1m"), (["loopback", "--round", "3"], "unrecognized"),
            (["capacity", "--new", "/nowhere/sherwood"], "name a built sherwood or a source tree"),
            (["capacity", "--new", "/"], "a folder without Cargo.toml"),
            (["capacity", "--json", "/nowhere/file"], "name a file in a folder that exists"),
        ]:
            status, _, errors = self.main(*words)
            self.assertEqual(status, 2, words)
            self.assertIn(remedy, errors)

    def test_quantities(self):
        self.assertEqual([quantities.size_bytes(text) for text in ["7", "1KiB", "1.5MiB"]], [7, 1024, 1536 << 10])
        self.assertEqual([quantities.count(text) for text in ["7", "100k", "1M"]], [7, 100_000, 1_000_000])
        self.assertEqual(harness.cpu_set("0,2-4"), {0, 2, 3, 4})


if __name__ == "__main__":
    unittest.main()

"""Which binary is measured: a program as it is, a source tree by cargo (a fake one here)."""
import contextlib
import io
import os
import tempfile
import unittest
from unittest import mock

from measuring import programs
from measuring.trouble import Trouble

# Writes where it ran and with which target folder, and names a program as cargo does.
FAKE_CARGO = """#!/bin/sh
echo "$PWD $CARGO_TARGET_DIR $*" >> "$NOTES"
[ ! -e broken ] || exit 101
echo '{"reason":"compiler-artifact","target":{"name":"build-script"},"executable":null}'
echo '{"reason":"compiler-artifact","target":{"name":"tick"},"executable":"'"$PWD"'/target/release/deps/tick-1"}'
echo '{"reason":"build-finished","success":true}'
"""


class Programs(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.tree = os.path.realpath(os.path.join(self.folder, "before"))
        os.mkdir(self.tree)
        self.write(os.path.join(self.tree, "Cargo.toml"), "")
        self.write(os.path.join(self.folder, "cargo"), FAKE_CARGO, 0o755)
        self.notes = os.path.join(self.folder, "notes")

    def write(self, path, text, mode=0o644):
        with open(path, "w") as file:
            file.write(text)
        os.chmod(path, mode)

    def find(self, given):
        path = f"{self.folder}:{os.environ['PATH']}"
        with mock.patch.dict(os.environ, PATH=path, NOTES=self.notes, CARGO_TARGET_DIR="/ours"), \
                contextlib.redirect_stderr(io.StringIO()):
            return programs.find(given, programs.bench("tick"))

    def test_a_source_tree_is_built_into_its_own_target_folder(self):
        self.assertEqual(self.find(self.tree), f"{self.tree}/target/release/deps/tick-1")
        with open(self.notes) as notes:
            # Two spaces: no target folder, which would be that of the new binary.
            self.assertIn(f"{self.tree}  bench --workspace --no-run --bench tick", notes.read())

    def test_without_a_name_this_tree_is_built_where_it_always_is(self):
        self.assertEqual(self.find(None), f"{programs.ROOT}/target/release/deps/tick-1")
        with open(self.notes) as notes:
            self.assertIn(f"{programs.ROOT} /ours bench --workspace --no-run --bench tick", notes.read())

    def test_a_tree_that_does_not_build_is_an_error(self):
        self.write(os.path.join(self.tree, "broken"), "")
        with self.assertRaisesRegex(Trouble, f"tick was not built in {self.tree}"):
            self.find(self.tree)

    def test_a_program_is_taken_as_it_is(self):
        self.assertEqual(self.find("/bin/sh"), "/bin/sh")


if __name__ == "__main__":
    unittest.main()

"""The rows of the table's benches."""
import argparse
import os
import tempfile
import unittest

from measuring import tables
from measuring.session import Session

# Writes what a bench writes for ours alone and beside two rivals, of which one does not fit.
FAKE = """#!/bin/sh
for word; do csv=$word; done
cat > "$csv" <<CSV
items,key_bytes,threads,load,pages,case,who,batch,ops_per_s,of_ref,of_ours,bytes_per_item
1000,8,2,0.8,2 MiB,hit,REF,0,4000000,1.0000,,
1000,8,2,0.8,2 MiB,hit,sherwood,32,2000000,0.5000,,
1000,8,2,0.8,2 MiB,hit,sherwood,32,3000000,0.7500,1.0000,
1000,8,2,0.8,2 MiB,hit,papaya,0,1000000,0.2500,0.3333,134.1
1000,8,2,0.8,2 MiB,hit,sherwood,32,2500000,0.6250,1.0000,
1000,8,2,0.8,2 MiB,hit,moka,0,500000,0.1250,0.2000,270.0
CSV
echo "dashmap left out at 1000 items: needs some 9 MiB beside ours, 8 MiB are free"
"""


class Tables(unittest.TestCase):
    def test_ours_beside_each_rival_is_a_row_of_its_own(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "table")
            with open(path, "w") as file:
                file.write(FAKE)
            os.chmod(path, 0o755)
            given = {option.name.replace("-", "_"): option.default for option in tables.OPTIONS}
            session = Session("table-peers", argparse.Namespace(**given), {"new": path}, None)
            tables.run(session)
        self.assertEqual([(row.subject, row.binary, row.rounds[0]["ops_per_us"]) for row in session.results.rows()], [
            ("hit: REF", None, 4), ("hit: sherwood, batch 32", "new", 2), ("hit: sherwood, batch 32, beside papaya", "new", 3),
            ("hit: papaya", None, 1), ("hit: sherwood, batch 32, beside moka", "new", 2.5), ("hit: moka", None, 0.5)])
        self.assertEqual({row.case for row in session.results.rows()},
                         {"1000 items, 8-byte keys, 2 threads, load 0.8, 2 MiB pages"})
        self.assertEqual(session.skipped[0][0], "dashmap")


if __name__ == "__main__":
    unittest.main()

"""The stand-in for memcached's binary: what options come to, and what is named that cannot be had."""
import unittest

from public_clients.memcached_options import Cannot, Wrong, split, translate


def serve(line):
    """The arguments that differ from those of a server without options."""
    words = translate(line.split())
    return " ".join(words).removeprefix("serve --workers 1 --memory 64MiB ").removeprefix("--max-connections 1024 ").removeprefix("--pin none --huge off --poll block ")


class Options(unittest.TestCase):
    def test_options_are_read_as_getopt_does(self):
        self.assertEqual(list(split(["-vv", "-m64", "-m", "32", "-AMc", "7", "--enable-shutdown"])),
                         [("v", ""), ("v", ""), ("m", "64"), ("m", "32"), ("A", ""), ("M", ""), ("c", "7"), ("A", "")])
        self.assertRaises(Wrong, list, split(["-m"]))
        self.assertRaises(Wrong, list, split(["word"]))

    def test_addresses(self):
        self.assertEqual(serve("-s /tmp/s -u root -o relaxed_privileges"), "--transport none --unix /tmp/s")
        self.assertEqual(serve("-a 770 -s /tmp/s"), "--unix-mode 770 --transport none --unix /tmp/s")
        self.assertEqual(serve("-p 7 -U 8"), "--transport tcp --listen 127.0.0.1:7")
        self.assertEqual(serve("-U 7 -p 7"), "--transport udp,tcp --listen 127.0.0.1:7")
        self.assertEqual(serve("-l 0.0.0.0 -p 7"), "--transport tcp --listen 0.0.0.0:7 --allow 127.0.0.0/8")
        self.assertRaises(Wrong, serve, "-l fooble")

    def test_limits(self):
        tail = " --transport tcp --listen 127.0.0.1:11211"
        self.assertEqual(serve("-M -A"), "--no-eviction --allow-shutdown" + tail)
        self.assertIn("--max-connections 7 ", serve("-c 7"))
        self.assertEqual(serve("-I 2m"), f"--value-max {2 << 20}" + tail)
        self.assertRaises(Cannot, serve, "-I 32m")
        self.assertEqual(serve("-o idle_timeout=3,no_modern"), "--idle-timeout 3" + tail)
        self.assertIn("serve --workers 2 --memory 2MiB", " ".join(translate(["-m", "1", "-t", "4"])))
        for line in ("-I 1000", "-I 2000m", "-I 256m", "-c 0", "-c -1", "-t 0", "-B http"):
            self.assertRaises(Wrong, serve, line)

    def test_what_cannot_be_had_is_named(self):
        for line in ("-S", "-B binary", "-o ext_path=/tmp/x:64m", "-o proxy_config=x", "-d", "-Y file", "-e file", "-C", "-F"):
            with self.assertRaises(Cannot) as cannot:
                serve(line)
            self.assertIn(line.split()[0], str(cannot.exception))


if __name__ == "__main__":
    unittest.main()

"""Runs of a bench of cargo: a program that prints or writes its figures and ends."""
import csv
import os
import subprocess
import tempfile

from measuring.trouble import Trouble


def output(binary, *options):
    """What it prints."""
    command = [binary, *options]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"RUST_BACKTRACE": "0"})
    if done.returncode:
        raise Trouble(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def csv_rows(binary, *options):
    """What it writes to its --csv FILE, as a dict a row; and what it prints."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "rows.csv")
        printed = output(binary, *options, "--csv", path)
        with open(path, newline="") as file:
            return list(csv.DictReader(file)), printed

"""Sizes and counts as people write them, and figures as people read them."""
import re

SIZE_UNITS = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
COUNT_UNITS = {"": 1, "k": 1_000, "m": 1_000_000, "g": 1_000_000_000}


def size_bytes(text):
    """`64MiB` and the like, in bytes."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(KiB|MiB|GiB|)", text)
    if not match:
        raise ValueError(f"{text} is not a size: write 10GiB or 512MiB")
    return int(float(match[1]) * SIZE_UNITS[match[2]])


def count(text):
    """`100k` and the like, as a number."""
    match = re.fullmatch(r"(\d+)([kmg]?)", text.lower())
    if not match:
        raise ValueError(f"{text} is not a number: write 100000, 100k or 1m")
    return int(match[1]) * COUNT_UNITS[match[2]]


def decimals(digits):
    """Writes a figure with so many digits after the point."""
    return lambda value: f"{value:,.{digits}f}"


def thousands(value):
    """Writes a figure in thousands: `5,050 k`, `1.2 k`."""
    return f"{value / 1e3:,.{0 if value >= 10_000 else 1}f} k"


def gibibytes(value):
    return f"{value / 2**30:.2f} GiB"


def plural(number, noun):
    return f"{number} {noun}{'' if number == 1 else 's'}"

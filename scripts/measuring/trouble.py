"""A measurement that cannot be made."""


class Trouble(Exception):
    """Says what is missing or went wrong, and what to do."""

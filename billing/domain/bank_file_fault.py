"""What is wrong with a file from a bank: which line of it, which field, and the remedy."""

from __future__ import annotations


class BankFileFault(ValueError):  # noqa: N818 - a fault is the word of the glossary
    """A file that cannot be taken. ``line`` counts from 1; 0 is the file as a whole."""

    def __init__(self, line: int, field: str, message: str) -> None:
        where = f"line {line}, {field}" if line else field
        super().__init__(f"{where}: {message}")
        self.line = line
        self.field = field
        self.message = message

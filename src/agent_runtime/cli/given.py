"""What somebody gives on the command line, in a file or on standard input."""

from __future__ import annotations

import sys
from decimal import Decimal, InvalidOperation
from pathlib import Path

import click

from agent_runtime.errors import InvalidInput
from agent_runtime.values.content import MAX_CONTENT_BYTES


def read_prompt(prompt: str | None, file: str | None) -> str:
    """Return the prompt from wherever it was given.

    Raises:
        click.UsageError: It was given twice or not at all.
        InvalidInput: It cannot be read, is empty, is not UTF-8, or is larger than a job's input may be.
    """
    if prompt is not None and file is not None:
        raise click.UsageError("give the prompt as an argument or with --file, not both")
    if prompt is None and file is None and sys.stdin.isatty():
        raise click.UsageError(
            "there is no prompt: give it as an argument, with --file, or on standard input"
        )
    text = prompt if prompt not in (None, "-") else text_of(file)
    if not text.strip():
        raise InvalidInput("the prompt is empty")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidInput("the prompt is not UTF-8 text") from None
    return text


def text_of(file: str | None, what: str = "prompt") -> str:
    """Return what stands in a file, or on standard input where none or `-` is named.

    Raises:
        InvalidInput: It cannot be read, is not UTF-8, or is larger than a job's input may be.
    """
    try:
        return _read(file, what).decode("utf-8-sig")  # some editors begin a file with a mark
    except UnicodeDecodeError as error:
        raise InvalidInput(f"the {what} is not UTF-8 text (byte {error.start:,})") from None


def _read(file: str | None, what: str) -> bytes:
    limit = MAX_CONTENT_BYTES + 1
    if file in (None, "-"):
        data = sys.stdin.buffer.read(limit)
    else:
        try:
            with Path(str(file)).open("rb") as opened:
                data = opened.read(limit)
        except OSError as error:
            raise InvalidInput(f"the {what} cannot be read from {file!r}: {error.strerror}") from error
    if len(data) == limit:
        raise InvalidInput(f"the {what} is larger than a job's input may be ({MAX_CONTENT_BYTES:,} bytes)")
    return data


def dollars(text: str | None) -> Decimal | None:
    """Return an amount of money exactly as it was written. Raises `click.UsageError`."""
    if text is None:
        return None
    try:
        amount = Decimal(text.removeprefix("$"))
    except InvalidOperation:
        raise click.UsageError(f"--max-cost {text!r} is not an amount of dollars") from None
    if not amount.is_finite() or amount <= 0:
        raise click.UsageError(f"--max-cost {text!r} is not an amount of dollars above zero")
    return amount

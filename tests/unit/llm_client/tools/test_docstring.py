"""Docstrings in the three common styles."""

import pytest

from llm_client.tools.docstring import parse_docstring


def google(a: int, b: str) -> None:
    """Do it.

    In detail.

    Args:
        a: First
            thing: with a colon.
        b (str): Second.

    Returns:
        Nothing.
    """


def numpy(a: int, b: str) -> None:
    """Do it.

    In detail.

    Parameters
    ----------
    a : int
        First
        thing: with a colon.
    b
        Second.

    Returns
    -------
    None
        Nothing.
    """


def sphinx(a: int, b: str) -> None:
    """Do it.

    In detail.

    :param a: First
        thing: with a colon.
    :param str b: Second.
    :returns: Nothing.
    """


@pytest.mark.parametrize("function", [google, numpy, sphinx])
def test_every_style_gives_the_same(function: object) -> None:
    docstring = parse_docstring(function)  # type: ignore[arg-type]

    assert docstring.description == "Do it.\n\nIn detail."
    assert docstring.parameters == {"a": "First thing: with a colon.", "b": "Second."}


def test_no_docstring_says_nothing() -> None:
    def silent() -> None: ...

    assert parse_docstring(silent).description == ""

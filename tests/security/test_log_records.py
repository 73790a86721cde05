"""No part of a log record holds a secret, whatever a formatter or a sink reads of it."""

import logging
from typing import Any

import pytest

from llm_client.logs import logger_of

KEY = "sk-" + "a1B2" * 10
WORD = "hunter" + "2bass"


@pytest.mark.parametrize(
    "extra",
    [
        {"told": KEY},
        {"request": {"headers": {"Authorization": KEY}}},
        {"request": {"password": WORD}},
        {"api_key": WORD},
        {"error": ValueError(KEY)},
        {"told": "x" * 50_000 + KEY},
    ],
)
def test_what_goes_with_a_record_is_public_too(
    extra: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    logger_of("agent_runtime.attacked").warning("a record", extra=extra)

    (record,) = caplog.records
    assert KEY not in repr(vars(record))
    assert WORD not in repr(vars(record))
    assert extra.keys() <= vars(record).keys()


def test_arguments_that_the_sentence_leaves_out_are_public_too(caplog: pytest.LogCaptureFixture) -> None:
    logger_of("agent_runtime.attacked").warning("by %(who)s", {"who": "ada", "password": WORD})

    (record,) = caplog.records
    assert WORD not in repr(record.args)
    assert record.getMessage() == "by ada"


def test_what_is_harmless_stays_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    logger_of("agent_runtime.attacked").log(
        logging.INFO + 10, "%s of %d", "one", 2, extra={"job_id": "job-1", "turns": 3}
    )

    (record,) = caplog.records
    assert (record.args, record.job_id, record.turns) == (("one", 2), "job-1", 3)  # type: ignore[attr-defined]

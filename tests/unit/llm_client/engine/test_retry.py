"""When an attempt is repeated, and after how long."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_client import ConfigurationError, ProviderUnavailable, RateLimited, RetryConfig
from llm_client.errors import AuthenticationError, InvalidResponse, ProviderError, QuotaExceeded


def middle() -> float:
    return 0.5


def test_waits_double_up_to_a_bound() -> None:
    retry = RetryConfig(attempts=10, backoff=1, max_backoff=20)
    error = ProviderUnavailable(status=503)

    delays = [retry.delay_after(failures, error, middle) for failures in range(1, 8)]

    assert delays == [1, 2, 4, 8, 16, 20, 20]


def test_the_last_attempt_is_not_repeated() -> None:
    retry = RetryConfig(attempts=3)

    assert retry.delay_after(2, ProviderUnavailable(), middle) is not None
    assert retry.delay_after(3, ProviderUnavailable(), middle) is None


@pytest.mark.parametrize("chance", [0.0, 0.25, 0.999])
def test_jitter_stays_within_its_fraction(chance: float) -> None:
    delay = RetryConfig(backoff=10, jitter=0.2).delay_after(1, ProviderUnavailable(), lambda: chance)

    assert delay is not None
    assert 8 <= delay <= 12


def test_a_vendor_that_asks_for_time_gets_it() -> None:
    retry = RetryConfig(backoff=1, jitter=0)

    assert retry.delay_after(1, RateLimited(status=429, retry_after=7.5), middle) == 7.5
    assert retry.delay_after(1, RateLimited(status=429, retry_after=0.1), middle) == 1


def test_a_vendor_that_asks_for_too_much_time_is_not_asked_again() -> None:
    retry = RetryConfig(max_retry_after=60)

    assert retry.delay_after(1, RateLimited(status=429, retry_after=61), middle) is None


@pytest.mark.parametrize(
    "error", [AuthenticationError(status=401), QuotaExceeded(status=429), ProviderError(status=400)]
)
def test_what_cannot_get_better_is_not_repeated(error: ProviderError) -> None:
    assert not RetryConfig().allows(error)


def test_statuses_narrow_what_is_repeated() -> None:
    retry = RetryConfig(retryable_statuses=(503,))

    assert retry.allows(ProviderUnavailable(status=503))
    assert not retry.allows(RateLimited(status=429))


def test_garbage_in_a_successful_response_is_repeated_whatever_the_statuses() -> None:
    assert RetryConfig(retryable_statuses=()).allows(InvalidResponse(status=200))


@pytest.mark.parametrize("values", [{"attempts": 0}, {"backoff": -1}, {"jitter": 1.5}])
def test_impossible_settings_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError):
        RetryConfig(**values)


@given(
    failures=st.integers(1, 10_000),
    backoff=st.floats(0, 100),
    bound=st.floats(0, 100),
    jitter=st.floats(0, 1),
    chance=st.floats(0, 1, exclude_max=True),
)
def test_a_wait_is_never_negative_and_never_beyond_the_bound_and_its_jitter(
    failures: int, backoff: float, bound: float, jitter: float, chance: float
) -> None:
    retry = RetryConfig(attempts=20_000, backoff=backoff, max_backoff=bound, jitter=jitter)

    delay = retry.delay_after(failures, ProviderUnavailable(), lambda: chance)

    assert delay is not None
    assert 0 <= delay <= bound * (1 + jitter)

"""The circuit breaker against a model of what it should do."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from llm_client import CircuitBreakerConfig, CircuitOpen, ConfigurationError
from llm_client.engine.breaker import CircuitBreaker, CircuitBreakers, is_outage
from llm_client.errors import (
    ConnectionFailed,
    InvalidRequest,
    InvalidResponse,
    ProviderTimeout,
    ProviderUnavailable,
    RateLimited,
    RunAborted,
)
from llm_client.testing.cache_contract import FakeTime


@pytest.fixture
def time() -> FakeTime:
    return FakeTime()


def opened(time: FakeTime, **values: float) -> CircuitBreaker:
    breaker = CircuitBreaker(CircuitBreakerConfig(failure_threshold=1, recovery_timeout=30, **values), time)  # type: ignore[arg-type]
    breaker.fail(breaker.enter())
    return breaker


def test_failures_in_a_row_open_the_circuit(time: FakeTime) -> None:
    breaker = CircuitBreaker(CircuitBreakerConfig(failure_threshold=3), time)
    for _ in range(3):
        breaker.fail(breaker.enter())

    with pytest.raises(CircuitOpen) as refused:
        breaker.enter()

    assert refused.value.retry_after == 30


def test_a_success_in_between_starts_the_count_anew(time: FakeTime) -> None:
    breaker = CircuitBreaker(CircuitBreakerConfig(failure_threshold=2), time)
    breaker.fail(breaker.enter())
    breaker.succeed(breaker.enter())
    breaker.fail(breaker.enter())

    assert breaker.state == "closed"


def test_after_the_recovery_time_one_probe_goes_through_and_no_second(time: FakeTime) -> None:
    breaker = opened(time)
    time.now += 30
    breaker.enter()

    with pytest.raises(CircuitOpen):
        breaker.enter()


def test_a_successful_probe_closes_the_circuit(time: FakeTime) -> None:
    breaker = opened(time)
    time.now += 30
    breaker.succeed(breaker.enter())

    assert breaker.state == "closed"


def test_a_failed_probe_opens_it_for_another_recovery_time(time: FakeTime) -> None:
    breaker = opened(time)
    time.now += 30
    breaker.fail(breaker.enter())
    time.now += 29

    with pytest.raises(CircuitOpen):
        breaker.enter()


def test_a_cancelled_probe_frees_its_place(time: FakeTime) -> None:
    breaker = opened(time)
    time.now += 30
    breaker.abandon(breaker.enter())

    breaker.succeed(breaker.enter())

    assert breaker.state == "closed"


def test_several_successes_may_be_asked_for(time: FakeTime) -> None:
    breaker = opened(time, half_open_successes=2)
    time.now += 30
    breaker.succeed(breaker.enter())
    halfway = breaker.state
    breaker.succeed(breaker.enter())

    assert (halfway, breaker.state) == ("half_open", "closed")


def test_a_late_answer_to_an_attempt_from_before_says_nothing_about_the_circuit_now(time: FakeTime) -> None:
    breaker = CircuitBreaker(CircuitBreakerConfig(failure_threshold=1, recovery_timeout=30), time)
    early, late = breaker.enter(), breaker.enter()
    breaker.fail(early)
    time.now += 30
    breaker.enter()
    breaker.succeed(late)
    breaker.fail(late)

    assert breaker.state == "half_open"


@pytest.mark.parametrize(
    ("error", "counts"),
    [
        (ProviderUnavailable(status=503), True),
        (ConnectionFailed(), True),
        (ProviderTimeout(), True),
        (InvalidResponse(status=200), True),
        (ProviderTimeout(status=408), False),
        (RateLimited(status=429), False),
        (RateLimited(), False),
        (InvalidRequest(status=400), False),
        (RunAborted(), False),
        (ValueError(), False),
    ],
)
def test_only_outages_count(error: Exception, counts: bool) -> None:
    assert is_outage(error) is counts


def test_each_provider_and_model_has_its_own_circuit() -> None:
    breakers = CircuitBreakers(CircuitBreakerConfig(failure_threshold=1))
    breaker = breakers.of("openai", "a")
    breaker.fail(breaker.enter())

    assert breakers.of("openai", "a").state == "open"
    assert breakers.of("openai", "b").state == breakers.of("azure", "a").state == "closed"


def test_impossible_thresholds_are_refused() -> None:
    with pytest.raises(ConfigurationError):
        CircuitBreakerConfig(failure_threshold=0)


class BreakerMachine(RuleBasedStateMachine):
    """Attempts that start, end, are abandoned and come late, in any order, against a naive model."""

    tickets = Bundle("tickets")

    @initialize(threshold=st.integers(1, 3), needed=st.integers(1, 3))
    def start(self, threshold: int, needed: int) -> None:
        self.time = FakeTime()
        self.threshold, self.needed = threshold, needed
        config = CircuitBreakerConfig(
            failure_threshold=threshold, recovery_timeout=10, half_open_successes=needed
        )
        self.breaker = CircuitBreaker(config, self.time)
        self.state, self.failures, self.successes, self.opened = "closed", 0, 0, 0.0
        self.round = 0
        self.probe: object | None = None

    def change(self, state: str) -> None:
        self.state, self.failures, self.successes, self.probe = state, 0, 0, None
        self.round += 1

    @rule(target=tickets)
    def enter(self) -> tuple[int, int, object]:
        if self.state == "open" and self.time.now >= self.opened + 10:
            self.change("half_open")
        identity = object()
        if self.state == "open" or (self.state == "half_open" and self.probe is not None):
            with pytest.raises(CircuitOpen):
                self.breaker.enter()
            return (-1, -1, identity)
        if self.state == "half_open":
            self.probe = identity
        return (self.breaker.enter(), self.round, identity)

    @rule(ticket=consumes(tickets), outcome=st.sampled_from(["succeed", "fail", "abandon"]))
    def end(self, ticket: tuple[int, int, object], outcome: str) -> None:
        number, round_, _ = ticket
        getattr(self.breaker, outcome)(number)
        if round_ != self.round:
            return
        self.probe = None
        if outcome == "succeed":
            self.failures = 0
            self.successes += 1
            if self.state == "half_open" and self.successes == self.needed:
                self.change("closed")
        elif outcome == "fail":
            self.failures += 1
            if self.state == "half_open" or self.failures == self.threshold:
                self.opened = self.time.now
                self.change("open")

    @rule(seconds=st.floats(0, 15))
    def wait(self, seconds: float) -> None:
        self.time.now += seconds

    @invariant()
    def agrees_with_the_model(self) -> None:
        assert self.breaker.state == self.state


TestBreakerMachine = BreakerMachine.TestCase

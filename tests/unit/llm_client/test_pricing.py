"""Money: every token billed once, unknown prices never nothing, bounds that hold."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache

import genai_prices
import pytest
from genai_prices.data import providers
from hypothesis import assume, given
from hypothesis import strategies as st

from llm_client import ConfigurationError, ModelPrices, PriceBook, Usage
from llm_client.pricing.model_prices import RATES, Rate

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
MODELS = [(provider.id, model.id) for provider in providers for model in provider.models]
BOOK = PriceBook(clock=lambda: NOW)

counts = st.integers(0, 2_000_000)


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    total, out = draw(counts), draw(counts)
    read = draw(st.integers(0, total))
    written = draw(st.integers(0, total - read))
    return Usage(
        input_tokens=total,
        output_tokens=out,
        cache_read_tokens=read,
        cache_write_tokens=written,
        reasoning_tokens=draw(st.integers(0, out)),
        requests=1,
    )


@cache
def priced_models() -> list[tuple[str, str]]:
    """The models of the bundled table that can be found by their own id and have a price for input and output."""
    return [
        (provider, model)
        for provider, model in MODELS
        if (prices := BOOK.prices(provider, model)) is not None and prices.input and prices.output
    ]


def test_the_table_prices_most_of_its_models() -> None:
    assert len(priced_models()) > 1_500


@pytest.mark.parametrize(
    "usage",
    [
        Usage(input_tokens=1_000, output_tokens=500, requests=1),
        Usage(input_tokens=10_000, output_tokens=500, cache_read_tokens=9_000, requests=1),
        Usage(
            input_tokens=10_000,
            output_tokens=500,
            cache_read_tokens=4_000,
            cache_write_tokens=5_000,
            requests=1,
        ),
        Usage(input_tokens=300_001, output_tokens=900, cache_read_tokens=7, reasoning_tokens=800, requests=1),
    ],
    ids=["plain", "cached", "written", "long"],
)
def test_every_model_costs_what_the_price_table_says(usage: Usage) -> None:
    theirs = genai_prices.Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        output_reasoning_tokens=usage.reasoning_tokens,
    )
    differing = []
    for provider, model in priced_models():
        expected = genai_prices.calc_price(theirs, model, provider_id=provider, genai_request_timestamp=NOW)
        if BOOK.cost(provider, model, usage) != expected.total_price:
            differing.append((provider, model))

    assert differing == []


@given(usage=usages(), data=st.data())
def test_every_token_of_every_model_is_billed_exactly_once(usage: Usage, data: st.DataObject) -> None:
    """The cost lies between billing every token at the cheapest bucket it may fall into, and at the dearest."""
    provider, model = data.draw(st.sampled_from(priced_models()))
    prices = BOOK.prices(provider, model)
    assert prices is not None
    assert prices.input is not None
    assert prices.output is not None
    size = usage.input_tokens
    reading = [rate.at(size) for rate in (prices.input, prices.cache_read, prices.cache_write) if rate]
    writing = [rate.at(size) for rate in (prices.output, prices.reasoning) if rate]
    million = Decimal(1_000_000)

    cost = prices.cost(usage)

    assert cost is not None
    low = (usage.input_tokens * min(reading) + usage.output_tokens * min(writing)) / million + prices.request
    high = (usage.input_tokens * max(reading) + usage.output_tokens * max(writing)) / million + prices.request
    assert low <= cost <= high
    if not usage.cache_read_tokens and not usage.cache_write_tokens and not usage.reasoning_tokens:
        plain = usage.input_tokens * prices.input.at(size) + usage.output_tokens * prices.output.at(size)
        assert cost == plain / million + prices.request


@given(usage=usages(), data=st.data())
def test_moving_tokens_into_the_cache_changes_only_their_rate(usage: Usage, data: st.DataObject) -> None:
    provider, model = data.draw(st.sampled_from(priced_models()))
    prices = BOOK.prices(provider, model)
    assert prices is not None
    assert prices.input is not None
    uncached = Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        requests=1,
    )
    size = usage.input_tokens
    plain = prices.input.at(size)
    read = (prices.cache_read or prices.input).at(size) - plain
    written = (prices.cache_write or prices.input).at(size) - plain
    before, after = prices.cost(uncached), prices.cost(usage)

    assert before is not None
    assert after is not None
    moved = usage.cache_read_tokens * read + usage.cache_write_tokens * written
    assert after - before == moved / Decimal(1_000_000)


@given(usage=usages(), more_in=st.integers(0, 500_000), more_out=st.integers(0, 500_000), data=st.data())
def test_no_request_within_its_bounds_costs_more_than_the_worst_case(
    usage: Usage, more_in: int, more_out: int, data: st.DataObject
) -> None:
    assume(not usage.is_nothing)
    provider, model = data.draw(st.sampled_from(priced_models()))

    worst = BOOK.worst_case(provider, model, usage.input_tokens + more_in, usage.output_tokens + more_out)

    assert worst is not None
    cost = BOOK.cost(provider, model, usage)
    assert cost is not None
    assert cost <= worst


def test_a_tier_begins_above_its_start_and_applies_to_all_tokens() -> None:
    prices = ModelPrices(input=Rate(Decimal(1), ((1_000, Decimal(2)), (5_000, Decimal(3)))))

    costs = [prices.cost(Usage(input_tokens=tokens)) for tokens in (1_000, 1_001, 5_000, 5_001)]

    assert costs == [Decimal("0.001"), Decimal("0.002002"), Decimal("0.01"), Decimal("0.015003")]


def test_the_worst_case_assumes_the_dearest_bucket_and_the_tier_it_can_reach() -> None:
    prices = ModelPrices(
        input=Rate(Decimal(1), ((1_000, Decimal(2)),)),
        output=Rate(Decimal(10), ((1_000, Decimal(15)),)),
        cache_write=Rate(Decimal("1.25"), ((1_000, Decimal("2.5")),)),
    )
    book = PriceBook({"v:m": prices})

    assert book.worst_case("v", "m", 1_000, 1_000_000) == Decimal("10.00125")
    assert book.worst_case("v", "m", 1_001, 1_000_000) == Decimal("15.0025025")


def test_an_hour_long_cache_write_is_within_the_worst_case() -> None:
    prices = BOOK.prices("anthropic", "claude-sonnet-4-5")
    assert prices is not None
    assert prices.cache_write_1h

    assert BOOK.worst_case("anthropic", "claude-sonnet-4-5", 1_000_000, 0) == max(
        rate.highest(1_000_000) for rate in (prices.cache_write_1h, prices.input, prices.cache_write) if rate
    )


def test_inconsistent_counts_of_a_vendor_never_make_a_negative_bucket() -> None:
    prices = ModelPrices.of(input=10, output=10, cache_read=1)

    assert prices.cost(Usage(input_tokens=100, cache_read_tokens=5_000)) == Decimal("0.0001")


def test_an_unknown_model_costs_none_and_is_flagged() -> None:
    usage = BOOK.price("openai", "gpt-nobody-has-heard-of", Usage(input_tokens=10, output_tokens=10))

    assert (usage.cost, usage.price_source, usage.unpriced_requests, usage.requests) == (None, None, 1, 1)
    assert BOOK.worst_case("openai", "gpt-nobody-has-heard-of", 10, 10) is None
    assert BOOK.prices("no-such-vendor", "x") is None


def test_a_name_that_no_model_has_is_not_remembered() -> None:
    assert BOOK.prices("openai", "gpt-5.2" + "x" * 300) is None


def test_tokens_without_a_price_make_the_cost_unknown_not_free() -> None:
    prices = ModelPrices.of(input=1)

    assert prices.cost(Usage(input_tokens=1_000_000)) == 1
    assert prices.cost(Usage(input_tokens=1, output_tokens=1)) is None
    assert prices.worst_case(1, 1) is None


def test_a_price_names_its_source_and_version() -> None:
    usage = BOOK.price("openai", "gpt-4o", Usage(input_tokens=10, requests=1))

    assert usage.price_source == f"genai-prices {genai_prices.__version__}"


def test_a_cost_the_vendor_reported_is_kept() -> None:
    usage = BOOK.price("openrouter", "anything", Usage(input_tokens=10, cost=Decimal("0.5")))

    assert (usage.cost, usage.price_source) == (Decimal("0.5"), "vendor")


def test_the_most_specific_override_wins_and_floats_are_exact() -> None:
    book = PriceBook(
        {
            "*:m": ModelPrices.of(input=1),
            "v:*": ModelPrices.of(input=2),
            "v:m": ModelPrices.of(input=0.1, source="contract 7"),
        }
    )
    million = Usage(input_tokens=1_000_000, requests=1)

    assert book.price("v", "m", million).cost == Decimal("0.1")
    assert book.price("v", "m", million).price_source == "contract 7"
    assert book.cost("v", "other", million) == 2
    assert book.cost("w", "m", million) == 1


def test_a_service_tier_changes_the_price_where_the_table_knows_it() -> None:
    changed = [
        (provider.id, model.id)
        for provider in providers
        for model in provider.models
        for variant in model.price_variants or ()
        if variant.when == {"service_tier": "priority"} and variant.constraint is None
    ]
    usage = Usage(input_tokens=1_000, output_tokens=1_000, requests=1)
    provider, model = changed[0]

    standard = BOOK.price(provider, model, usage)
    priority = BOOK.price(provider, model, usage, {"service_tier": "priority"})

    assert standard.cost is not None
    assert priority.cost is not None
    assert priority.cost > standard.cost


def at(moment: str) -> PriceBook:
    return PriceBook(clock=lambda: datetime.fromisoformat(moment).replace(tzinfo=UTC))


@pytest.mark.parametrize("moment", ["2026-10-01", "2026-11-20", "2027-02-01"])
def test_every_variant_of_a_price_is_that_of_the_price_table_on_its_day(moment: str) -> None:
    theirs = genai_prices.Usage(input_tokens=300_001, output_tokens=900, cache_read_tokens=7)
    ours = Usage(input_tokens=300_001, output_tokens=900, cache_read_tokens=7, requests=1)
    when = datetime.fromisoformat(moment).replace(tzinfo=UTC)
    looked_at, differing = 0, []
    for provider in providers:
        for model in provider.models:
            for conditions in {tuple(variant.when.items()) for variant in model.price_variants or ()}:
                prices = at(moment).prices(provider.id, model.id, dict(conditions))
                if prices is None or not prices.input or not prices.output:
                    continue  # not begun, or of no tokens
                looked_at += 1
                expected = model.calc_price(
                    theirs, provider, genai_request_timestamp=when, price_context=dict(conditions)
                )
                if prices.cost(ours) != expected.total_price:
                    differing.append((provider.id, model.id, conditions))

    assert looked_at > 25
    assert differing == []


def test_a_tiers_price_begins_on_its_day() -> None:
    usage = Usage(input_tokens=1_000_000, service_tier="priority", requests=1)

    assert (
        at("2026-10-11").price("openai", "gpt-5.2", usage).cost is None
    )  # dearer than standard, and not known yet
    assert at("2026-10-12").price("openai", "gpt-5.2", usage).cost == Decimal("3.5")


def test_the_tier_that_served_counts_and_not_the_one_that_was_asked_for() -> None:
    def cost(served: str | None, asked: str | None) -> tuple[Decimal | None, str | None]:
        usage = Usage(input_tokens=1_000_000, service_tier=served, requests=1)
        priced = BOOK.price("openai", "gpt-5.2", usage, {"service_tier": asked} if asked else None)
        return priced.cost, priced.service_tier

    assert cost("priority", None) == (Decimal("3.5"), "priority")
    assert cost("standard", "priority") == (Decimal("1.75"), "standard")
    assert cost(None, "priority") == (Decimal("3.5"), "priority")
    assert cost(None, "auto") == cost(None, None) == (Decimal("1.75"), None)
    assert cost("flex", None) == (Decimal("0.875"), "flex")


def test_the_worst_case_is_the_dearest_tier_that_can_serve_a_request() -> None:
    def most(
        asked: dict[str, str] | None, provider: str = "openai", model: str = "gpt-5.2"
    ) -> Decimal | None:
        return BOOK.worst_case(provider, model, 1_000_000, 0, conditions=asked)

    assert most({"service_tier": "default"}) == Decimal("1.75")
    assert most({"service_tier": "flex"}) == Decimal("1.75")
    assert most({"service_tier": "priority"}) == most({"service_tier": "fast"}) == Decimal("3.5")
    assert most(None) == most({"service_tier": "auto"}) == Decimal("3.5")  # the account's setting decides
    assert most({"service_tier": "ultrafast"}) is None
    assert most({"speed": "fast", "inference_geo": "global"}, "anthropic", "claude-opus-5") == Decimal(20)
    assert most({"speed": "fast"}, "anthropic", "claude-haiku-4-5") is None


def test_the_worst_case_is_the_dearest_place_that_can_serve_a_request() -> None:
    def most(asked: dict[str, str] | None, model: str) -> Decimal | None:
        return BOOK.worst_case("anthropic", model, 1_000_000, 0, conditions=asked)

    newer = ("claude-opus-5", "claude-opus-4-6")
    for model in newer:
        assert most({"inference_geo": "global"}, model) == Decimal(10)  # an hour's cache write
        assert (
            most(None, model) == most({"inference_geo": "us"}, model) == Decimal(11)
        )  # the account's setting
    for model in ("claude-opus-4-5", "claude-opus-4-5-20251101"):  # takes no place
        assert most(None, model) == Decimal(10)
    assert (most(None, "claude-sonnet-4-20250514"), most(None, "claude-sonnet-4-5")) == (
        Decimal(6),
        Decimal(12),
    )


def test_prices_of_ones_own_hold_everywhere() -> None:
    book = PriceBook({"anthropic:*": ModelPrices.of(input=1, output=1)})
    used = Usage(input_tokens=1_000_000, region="us")

    assert book.cost("anthropic", "claude-opus-5", used) == 1
    assert book.worst_case("anthropic", "claude-opus-5", 1_000_000, 0) == 1


def test_the_worst_case_knows_what_holds_within_a_day() -> None:
    def most(moment: str) -> Decimal | None:
        return at(moment).worst_case("google", "gemini-3.8-flash", 1_000_000, 0)

    assert most("2026-12-30T23:59:59") == Decimal("0.75")
    assert most("2026-12-31T00:00") == most("2026-12-31T23:59") == most("2027-01-01") == Decimal("1.5")


def test_the_worst_case_of_a_model_that_paints_is_that_of_its_pictures() -> None:
    assert BOOK.worst_case("google", "gemini-3.1-flash-image-preview", 0, 1_000_000) == Decimal(60)
    assert BOOK.worst_case("openai", "gpt-audio", 1_000_000, 0) == Decimal("2.5")
    assert BOOK.worst_case("openai", "gpt-audio", 1_000_000, 0, media=True) == Decimal(32)


MEDIA = (
    "input_audio_tokens",
    "input_image_tokens",
    "input_video_tokens",
    "cache_read_audio_tokens",
    "cache_read_image_tokens",
    "output_audio_tokens",
    "output_image_tokens",
    "output_video_tokens",
    "cache_write_1h_tokens",
)


@given(usage=usages(), data=st.data())
def test_whatever_vendors_state_every_token_is_billed_once_and_within_the_worst_case(
    usage: Usage, data: st.DataObject
) -> None:
    provider, model = data.draw(st.sampled_from(priced_models()))
    stated = replace(usage, **{name: data.draw(counts) for name in MEDIA})
    assume(not stated.is_nothing)
    tier = data.draw(st.sampled_from([None, "standard", "priority", "flex", "fast"]))
    flat = ModelPrices(**dict.fromkeys(RATES, Rate(Decimal(1))))

    billed = BOOK.price(provider, model, replace(stated, service_tier=tier)).cost
    asked = {"service_tier": tier, **({"speed": "fast"} if tier == "fast" else {})} if tier else None
    worst = BOOK.worst_case(
        provider, model, usage.input_tokens, usage.output_tokens, media=True, conditions=asked
    )

    assert flat.cost(stated) == Decimal(usage.total_tokens) / 1_000_000
    assert (billed is None) <= (worst is None)
    if worst is not None:
        assert billed is not None
        assert 0 <= billed <= worst


def test_searches_cost_their_price_or_have_none() -> None:
    known, unknown = ModelPrices.of(input=1, web_search="0.01"), ModelPrices.of(input=1)
    usage = Usage(input_tokens=1_000_000, web_searches=3, requests=1)

    assert known.cost(usage) == Decimal("1.03")
    assert unknown.cost(usage) is None


def test_a_bucket_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="'cached' is none of the buckets cache_read"):
        ModelPrices.of(cached=1)


def test_a_sum_of_many_usages_names_each_price_and_tier_once() -> None:
    def one(source: str, tier: str) -> Usage:
        return replace(Usage(requests=1).with_cost(Decimal(1), source), service_tier=tier)

    total = sum((one(*names) for names in [("a", "x"), ("b", "y"), ("a", "x"), ("b", "x")] * 5), Usage())

    assert (total.price_source, total.service_tier, total.cost) == ("a + b", "x + y", Decimal(20))


def test_prices_that_depend_on_the_time_follow_the_clock() -> None:
    def cost_at(provider: str, model: str, when: datetime) -> Decimal | None:
        usage = Usage(input_tokens=1_000_000, requests=1)
        return PriceBook(clock=lambda: when).cost(provider, model, usage)

    old, new = datetime(2020, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC)
    dated = [
        (provider.id, model.id)
        for provider in providers
        for model in provider.models
        if isinstance(model.prices, list)
    ]

    assert any(cost_at(provider, model, old) != cost_at(provider, model, new) for provider, model in dated)


@pytest.mark.parametrize("price", [-1, "free", float("nan"), float("inf")])
def test_what_is_no_price_is_refused(price: object) -> None:
    with pytest.raises(ConfigurationError):
        ModelPrices.of(input=price)  # type: ignore[arg-type]


def test_an_override_without_a_vendor_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="provider:model"):
        PriceBook({"gpt-4o": ModelPrices.of(input=1)})


def test_doubles_do_not_load_the_price_table() -> None:
    book = PriceBook()

    assert not book.needs_loading("scripted", "scripted")
    assert book.needs_loading("openai", "gpt-4o")
    assert book.price("scripted", "x", Usage(requests=1)).cost is None


def test_a_sum_of_usages_says_when_its_cost_is_only_a_part() -> None:
    known = Usage(input_tokens=1, requests=1).with_cost(Decimal("0.1"), "a")
    unknown = Usage(input_tokens=1, requests=1).with_cost(None, None)

    total = known + unknown

    assert (total.cost, total.is_partial_cost, total.requests) == (Decimal("0.1"), True, 2)


@pytest.mark.parametrize("nothing", [Usage(requests=1), Usage(), Usage(requests=1, service_tier="standard")])
def test_an_answer_that_says_nothing_of_its_use_is_not_free(nothing: Usage) -> None:
    priced = PriceBook().price("openai", "gpt-5.2", nothing)

    assert (priced.cost, priced.price_source, priced.unpriced_requests) == (None, None, 1)


def test_what_costs_the_same_however_much_was_used_has_a_price_all_the_same() -> None:
    book = PriceBook(
        {"local:*": ModelPrices.of(input=0, output=0), "flat:*": ModelPrices.of(input=0, output=0, request=2)}
    )

    assert book.cost("local", "m", Usage(requests=1)) == Decimal(0)
    assert book.cost("flat", "m", Usage(requests=1)) == Decimal(2)
    assert book.cost("openai", "gpt-5.2", Usage(requests=1, cost=Decimal(0))) == Decimal(0)


@pytest.mark.parametrize(
    "model", ["gpt-4o-search-preview", "gpt-4o-mini-search-preview-2025-03-11", "gpt-5-search-api"]
)
def test_the_worst_case_of_a_model_that_always_searches_holds_its_search(model: str) -> None:
    bound, spent = (
        PriceBook().worst_case("openai", model, 1_000, 1_000),
        PriceBook().cost("openai", model, Usage(input_tokens=1_000, output_tokens=1_000, web_searches=1)),
    )
    assert bound is not None
    assert spent is not None
    assert bound >= spent > Decimal("0.01")
    assert PriceBook().worst_case("azure", model, 1_000, 1_000) is None
    book = PriceBook({f"openai:{model}": ModelPrices.of(input=2, output=8, web_search="0.025")})
    assert book.worst_case("openai", model, 1_000_000, 1_000_000) == Decimal("10.025")
    assert book.cost("openai", model, Usage(input_tokens=1_000_000, web_searches=1)) == Decimal("2.025")
    assert (
        PriceBook({f"openai:{model}": ModelPrices.of(input=2, output=8)}).worst_case("openai", model, 1, 1)
        is None
    )


def test_sound_that_is_billed_by_its_time_has_no_bound_in_tokens() -> None:
    prices = ModelPrices.of(input=1, output=2, input_audio_hour="0.36")
    assert prices.cost(Usage(input_tokens=1_000_000, input_audio_seconds=100)) == Decimal("1.01")
    assert prices.worst_case(10, 10, media=True) is None
    assert prices.worst_case(1_000_000, 0) == Decimal(1)
    assert ModelPrices.of(input=1, output=2).cost(Usage(input_tokens=1, input_audio_seconds=1)) is None

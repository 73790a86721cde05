"""One request, made reliable: retry, breaker, limits, cache, idempotency."""

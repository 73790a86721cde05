"""Contract suites and doubles for people who write back ends, operators and tests. All but `clock` need pytest."""

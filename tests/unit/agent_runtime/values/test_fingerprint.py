"""What is called alike has one hash, and nothing else has it."""

from agent_runtime.values.fingerprint import hash_of

LONG = 2**70
"""What orjson does not write."""


def test_what_stands_inside_a_value_is_not_taken_for_what_follows_it() -> None:
    inside = {"a": {"b": 1, "c": 2}, "z": LONG}
    after = {"a": {"b": 1}, "c": 2, "z": LONG}

    assert hash_of(inside) != hash_of(after)
    assert hash_of([[1], [LONG]]) != hash_of([[1, [LONG]]])
    assert hash_of({"a": [{"b": LONG}, {}]}) != hash_of({"a": [{"b": LONG, "": {}}]})


def test_the_order_of_keys_makes_no_other_hash() -> None:
    assert hash_of({"a": LONG, "b": {"c": 1, "d": 2}}) == hash_of({"b": {"d": 2, "c": 1}, "a": LONG})

"""What can be said of a request by keyword is what it has."""

from dataclasses import fields

from llm_client.spec import AskedFields, RequestSpec, SpecFields


def test_the_keywords_of_a_request_are_its_fields() -> None:
    names = {field.name for field in fields(RequestSpec)}
    assert SpecFields.__optional_keys__ == names
    assert AskedFields.__optional_keys__ == names - {"messages"}

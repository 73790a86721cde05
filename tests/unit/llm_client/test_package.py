"""The package itself."""

import pytest


def test_a_misspelt_name_of_the_package_is_no_mystery() -> None:
    import llm_client

    with pytest.raises(AttributeError, match="Agnet"):
        llm_client.Agnet  # noqa: B018 -- looking it up is the test
    assert "Agent" in dir(llm_client)

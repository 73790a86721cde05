"""What may be a key among what somebody was given to reach a server is found, and words are none."""

from base64 import b64encode
from typing import Any

import pytest

from llm_client.redaction.given_keys import keys_given

KEY = "zebra41-zebra42"
BASIC = b64encode(f"ann:{KEY}".encode()).decode()


@pytest.mark.parametrize(
    ("given", "form"),
    [
        ({"named": {"Authorization": f"Bearer {KEY}"}}, KEY),
        ({"named": {"authorization": f"Basic {BASIC}"}}, KEY),
        ({"named": {"authorization": f"Basic {BASIC}"}}, f"ann:{KEY}"),
        ({"named": {"authorization": f'Token token="{KEY}", of=ann'}}, KEY),
        ({"named": {"cookie": f"a=b; session={KEY}"}}, KEY),
        ({"named": {"DATABASE_URL": f"postgres://ann:{KEY}@db/all"}}, KEY),
        ({"address": f"https://mcp.example/mcp?apiKey={KEY}"}, KEY),
        ({"address": "https://mcp.example/mcp?api%4Bey=a%2Fb%3D1"}, "a/b=1"),
        ({"address": "https://mcp.example/mcp?api%4Bey=a%2Fb%3D1"}, "a%2Fb%3D1"),
        ({"address": f"https://mcp.example/mcp#token={KEY}"}, KEY),
        ({"address": f"https://mcp.example/mcp?profile=all&x={KEY}"}, KEY),
        ({"address": f"https://{KEY}@mcp.example/mcp"}, KEY),
        ({"address": f"https://ann:{KEY}@mcp.example/mcp"}, KEY),
        ({"address": f"https://gateway.example/{KEY}/v1"}, KEY),
        ({"address": "https://gateway.example/token/abcd/v1"}, "abcd"),
        (
            {"address": "https://mcp.example/s/3f2504e0-4f89-11d3-9a0c-0305e82c3301/mcp"},
            "3f2504e0-4f89-11d3-9a0c-0305e82c3301",
        ),
        ({"command": ["serve", "--api-key", KEY]}, KEY),
        ({"command": ["serve", f"--token={KEY}"]}, KEY),
        ({"command": ["docker", "run", "-e", f"API_KEY={KEY}", "image"]}, KEY),
        ({"command": ["npx", "mcp-remote", f"https://mcp.example/mcp?apiKey={KEY}"]}, KEY),
        ({"command": ["npx", "mcp-remote", "--header", f"Authorization: Bearer {KEY}"]}, KEY),
    ],
)
def test_a_key_is_found_in_each_form_that_may_come_back(given: dict[str, Any], form: str) -> None:
    assert form in keys_given(**given)


@pytest.mark.parametrize(
    "given",
    [
        {"named": {"user-agent": "agent-runtime", "content-type": "application/json", "x-place": "Bonn"}},
        {"named": {"PATH": "/usr/local/bin:/usr/bin", "LANG": "C.UTF-8"}},
        {"address": "https://api.openai.com/v1"},
        {"address": "https://one.openai.azure.com/openai/deployments/gpt-4o-2024-08-06"},
        {"address": "https://bedrock-runtime.us-east-1.amazonaws.com/openai/v1"},
        {
            "address": "https://europe-west1-aiplatform.googleapis.com/v1beta1/projects/my-project-123/locations/global"
        },
        {"address": "https://mcp.example/mcp?api-version=2025-04-01-preview&tools=web_search,read_file"},
        {"address": "http://[broken"},
        {"command": ["npx", "-y", "@modelcontextprotocol/server-filesystem", "/home/ann/project"]},
    ],
    ids=str,
)
def test_words_versions_and_dates_are_none(given: dict[str, Any]) -> None:
    assert keys_given(**given) == ()


def test_a_longer_form_comes_before_what_is_in_it() -> None:
    found = keys_given({"authorization": f"Bearer {KEY}", "x-api-key": "zebra41"})

    assert found == (f"Bearer {KEY}", KEY, "zebra41")

"""What is brought as a token of the identity provider and is none: it opens nothing, whatever it says of itself."""

from __future__ import annotations

import asyncio
import json
import logging
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from agent_runtime import OperatorContext, Role, RuntimeKernel
from agent_runtime.errors import InvalidInput
from agent_runtime.server import JwtConfig, ServerConfig
from agent_runtime.server.access import COOKIE, OWN_PAGE
from agent_runtime.server.jwt.provider_keys import EVERY_SECONDS, FRESH_SECONDS, KEPT_SECONDS, MAX_BYTES
from agent_runtime.server.jwt.tokens import MAX_TOKEN
from agent_runtime.storage.memory import MemoryStorage
from agent_runtime.testing.clock import FakeClock
from llm_client.redaction import redact
from support.identity_provider import (
    AUDIENCE,
    ISSUER,
    ROLES,
    IdentityProvider,
    private_key,
    public_jwk,
    signed,
)
from support.loopback import Reply, json_reply
from support.service import BOUND, Service, problem_in, served, service_of


async def echo(context: OperatorContext, given: Any) -> Any:
    return given


class Place:
    """A service and the identity provider that it knows, by one clock."""

    def __init__(self, service: Service, provider: IdentityProvider, clock: FakeClock) -> None:
        self.service = service
        self.provider = provider
        self.clock = clock

    async def status(self, token: str, **headers: str) -> int:
        """Return how a reader with this token is answered."""
        async with self.service.client(token, **headers) as client:
            response = await client.get("/v1/jobs")
        if response.status_code != 200:
            problem_in(response, response.status_code)
        return response.status_code


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    clock = FakeClock()
    async with IdentityProvider(clock) as provider:
        kernel = RuntimeKernel(storage=MemoryStorage(), clock=clock, operators={"echo": echo})
        config = ServerConfig(jwt=provider.config(), requests_per_second=100_000, burst=100_000)
        async with service_of(kernel, config) as service:
            yield Place(service, provider, clock)


def pem(name: str) -> bytes:
    return private_key(name).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def der(name: str) -> bytes:
    return private_key(name).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


async def test_a_token_without_a_signature_opens_nothing(place: Place) -> None:
    provider = place.provider
    assert await place.status(provider.token()) == 200
    for algorithm in ("none", "None", "NONE", "nOnE", "", None, 5, ["RS256"], {"RS256": 1}):
        head = {"alg": "none", "typ": "JWT", "kid": "first"}
        unsigned = signed(provider.claims(), head, None)
        assert await place.status(unsigned) == 401
        said = json.dumps({**head, "alg": algorithm}).encode()
        assert await place.status(encoded(said) + unsigned[unsigned.index(".") :]) == 401
    whole = provider.token()
    for cut in (whole.rpartition(".")[0] + ".", whole.rpartition(".")[0], whole[:-4], whole + "AAAA"):
        assert await place.status(cut) == 401


def encoded(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()


async def test_a_public_key_is_no_secret_to_sign_with(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for algorithm in ("HS256", "HS384", "HS512"):
        for secret in (pem("first"), der("first"), pem("first").strip(), b"first", b"secret"):
            made = hmac_token(place.provider.claims(), algorithm, secret)
            assert await place.status(made) == 401
    place.provider.keys.append({"kty": "oct", "kid": "shared", "k": encoded(b"s" * 64), "alg": "HS256"})
    place.clock.move(seconds=EVERY_SECONDS)
    shared = hmac_token(place.provider.claims(), "HS256", b"s" * 64, kid="shared")
    assert await place.status(shared) == 401
    with pytest.raises(InvalidInput):
        place.provider.config(algorithms=("HS256",))
    with pytest.raises(InvalidInput):
        place.provider.config(algorithms=("none",))


def hmac_token(claims: Any, algorithm: str, secret: bytes, kid: str = "first") -> str:
    import hashlib
    import hmac

    head = encoded(json.dumps({"alg": algorithm, "typ": "JWT", "kid": kid}).encode())
    text = f"{head}.{encoded(json.dumps(claims).encode())}"
    digest = hmac.digest(secret, text.encode(), getattr(hashlib, "sha" + algorithm[2:]))
    return f"{text}.{encoded(digest)}"


async def test_keys_and_addresses_in_a_token_are_not_followed(place: Place) -> None:
    provider = place.provider
    elsewhere = f"{provider.url}/elsewhere.json"
    for more in (
        {"jwk": public_jwk("forged")},
        {"jku": elsewhere},
        {"x5u": elsewhere},
        {"x5c": [encoded(der("forged"))]},
        {"jku": elsewhere, "jwk": public_jwk("forged", kid="first")},
    ):
        for kid in ("first", "forged"):
            head = {"alg": "RS256", "typ": "JWT", "kid": kid, **more}
            assert await place.status(signed(provider.claims(), head, private_key("forged"))) == 401
    assert set(provider.fetched) == {"/jwks.json"}


@pytest.mark.parametrize(
    "kid",
    [
        "../../../../../../dev/null",
        "/etc/passwd",
        "file:///dev/null",
        "http://127.0.0.1:1/keys",
        "x' UNION SELECT 'key'; --",
        "first' OR '1'='1",
        "first\x00",
        "| whoami",
        "x" * 4_000,
        "",
        7,
        None,
        ["first"],
        {"first": 1},
    ],
)
async def test_an_id_of_a_key_is_an_id_and_nothing_else(place: Place, kid: object) -> None:
    assert await place.status(place.provider.token(header={"kid": kid})) == 401
    head = {"alg": "HS256", "typ": "JWT", "kid": kid}
    empty = hmac_token(place.provider.claims(), "HS256", b"", kid=str(head["kid"]))
    assert await place.status(empty) == 401


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://evil.example.com/"},
        {"iss": ISSUER.rstrip("/")},
        {"iss": ISSUER.upper()},
        {"iss": [ISSUER]},
        {"iss": None},
        {"aud": "https://other.example.com"},
        {"aud": [AUDIENCE + "/", "other"]},
        {"aud": []},
        {"aud": {AUDIENCE: 1}},
        {"aud": None},
        {"exp": None},
        {"exp": "9999999999"},
        {"exp": True},
        {"exp": 1e300},
        {"exp": -1},
        {"exp": [1]},
        {"exp": 0},
        {"iat": "now"},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"sub": "x" * 600},
        {"sub": "a\x00b"},
        {"org_id": None},
        {"org_id": ""},
        {"org_id": ["acme"]},
        {"org_id": "*" * 600},
        {"roles": None},
        {"roles": []},
        {"roles": ["admin"]},
        {"roles": "agents:admin agents:viewer"},
        {"roles": ["AGENTS:ADMIN"]},
        {"roles": {"agents:admin": True}},
        {"roles": [["agents:admin"]]},
        {"roles": True},
    ],
    ids=str,
)
async def test_a_token_that_is_not_for_this_service_or_says_too_little_opens_nothing(
    place: Place, claims: dict[str, Any]
) -> None:
    assert await place.status(place.provider.token(**claims)) == 401


async def test_a_token_holds_from_its_beginning_to_its_end(place: Place) -> None:
    provider, now = place.provider, place.provider.now()
    assert await place.status(provider.token(exp=now)) == 401
    assert await place.status(provider.token(exp=now - 1)) == 401
    assert await place.status(provider.token(nbf=now + 20, iat=now + 20)) == 200
    assert await place.status(provider.token(nbf=now + 120)) == 401
    assert await place.status(provider.token(iat=now + 120)) == 401
    token = provider.token(exp=now + 60)
    assert await place.status(token) == 200
    place.clock.move(seconds=61)
    assert await place.status(token) == 401


@pytest.mark.parametrize(
    "header",
    [
        {"typ": "logout+jwt"},
        {"typ": "secevent+jwt"},
        {"typ": 7},
        {"crit": ["exp"]},
        {"crit": ["b64"], "b64": False},
        {"b64": False},
        {"alg": "PS256"},
        {"alg": "RS512"},
        {"alg": "ES256"},
    ],
    ids=str,
)
async def test_a_header_that_asks_for_something_else_opens_nothing(
    place: Place, header: dict[str, Any]
) -> None:
    provider = place.provider
    head = {"alg": "RS256", "typ": "JWT", "kid": "first", **header}
    text = provider.token()
    assert await place.status(encoded(json.dumps(head).encode()) + text[text.index(".") :]) == 401
    if "alg" not in header:
        assert await place.status(provider.token(header=header)) == 401


@pytest.mark.parametrize("typ", ["JWT", "jwt", "at+jwt", "application/at+jwt", None])
async def test_a_token_may_say_what_it_is(place: Place, typ: str | None) -> None:
    assert await place.status(place.provider.token(header={"typ": typ})) == 200


async def test_what_is_no_token_is_answered_whatever_it_is(place: Place) -> None:
    deep = encoded(b'{"alg":' + b"[" * 3_000)
    wide = encoded(json.dumps({str(number): 1 for number in range(400)}).encode())
    body = place.provider.token()
    for text in (
        "eyJ",
        "eyJ.",
        "eyJ..",
        "eyJ.eyJ.eyJ",
        "eyJ....",
        "eyJ" + "A" * (MAX_TOKEN * 2),
        body.partition(".")[0] + "." + "A" * MAX_TOKEN + ".AAAA",
        f"{deep}.eyJ.AAAA",
        f"{wide}.eyJ.AAAA",
        encoded(b'{"alg": NaN}') + ".e30.AAAA",
        encoded(b"\xff\xfe") + ".e30.AAAA",
        "eyJ!!!.e30.AAAA",
        body.replace(".", "..", 1),
        body + "=",
        body + "!",
    ):
        assert await place.status(text) == 401, text[:40]
    assert await place.status(signed(b"[1]", {"alg": "RS256", "kid": "first"}, private_key("first"))) == 401
    assert await place.status(signed(b"{", {"alg": "RS256", "kid": "first"}, private_key("first"))) == 401
    huge = signed(b"[" * 3_000, {"alg": "RS256", "kid": "first"}, private_key("first"))
    assert await place.status(huge) == 401
    assert await place.status(place.provider.token(more="x" * MAX_TOKEN)) == 401


async def test_only_keys_that_are_for_it_verify_a_token(place: Place) -> None:
    place.provider.keys = [
        public_jwk("encrypts", use="enc"),
        public_jwk("signs", key_ops=["sign"]),
        public_jwk("other", alg="RS512"),
        public_jwk("short"),
        {**public_jwk("broken"), "n": "!"},
        {"kty": "RSA", "kid": "empty"},
        {"kid": "nothing"},
        7,  # type: ignore[list-item]
        public_jwk("curve", "ES256"),
        public_jwk("edwards", "EdDSA"),
        public_jwk("fits", alg="RS256", use="sig", key_ops=["verify"], x5u=f"{place.provider.url}/else"),
    ]
    for name in ("encrypts", "signs", "other", "short", "broken", "empty", "nothing"):
        assert await place.status(place.provider.token(key=name)) == 401, name
    assert await place.status(place.provider.token(key="fits")) == 200
    assert await place.status(place.provider.token(key="curve", kind="ES256")) == 200
    assert await place.status(place.provider.token(key="edwards", kind="EdDSA")) == 200
    assert await place.status(place.provider.token(key="other", kind="RS512")) == 200
    assert set(place.provider.fetched) == {"/jwks.json"}


async def test_a_flood_of_unknown_keys_is_no_flood_of_fetches(place: Place) -> None:
    provider = place.provider
    assert await place.status(provider.token()) == 200
    async with place.service.client() as client:
        tokens = [provider.token(header={"kid": f"unknown-{number}"}) for number in range(50)]
        told = await asyncio.gather(
            *(client.get("/v1/jobs", headers={"Authorization": f"Bearer {token}"}) for token in tokens)
        )
    assert {response.status_code for response in told} == {401}
    assert len(provider.fetched) == 1
    place.clock.move(seconds=EVERY_SECONDS)
    for token in tokens:
        assert await place.status(token) == 401
    assert len(provider.fetched) == 2


async def test_a_key_that_comes_is_known_soon_and_one_that_goes_opens_nothing_soon(place: Place) -> None:
    provider = place.provider
    assert await place.status(provider.token()) == 200
    provider.keys.append(public_jwk("second"))
    assert await place.status(provider.token(key="second")) == 401  # it was looked at a moment ago
    place.clock.move(seconds=EVERY_SECONDS)
    assert await place.status(provider.token(key="second")) == 200
    assert await place.status(provider.token()) == 200
    del provider.keys[0]
    place.clock.move(seconds=FRESH_SECONDS)
    assert await place.status(provider.token()) == 200  # it is looked for beside this request
    async with asyncio.timeout(BOUND):
        while await place.status(provider.token()) != 401:
            await asyncio.sleep(0.01)
    assert await place.status(provider.token(key="second")) == 200


async def test_keys_hold_for_a_while_where_the_provider_is_away(place: Place) -> None:
    provider = place.provider
    assert await place.status(provider.token()) == 200
    for answer in (
        Reply(pieces=("reset",), head=False),
        json_reply({}, status=500),
        json_reply({"keys": []}),
        json_reply([1]),
        Reply(pieces=(b"<html>",)),
        Reply(pieces=(b" " * MAX_BYTES, json.dumps({"keys": [public_jwk("unknown")]}).encode())),
        Reply(status=302, headers={"location": f"{provider.url}/jwks.json"}),
        json_reply({"keys": [public_jwk("forged", use="enc")]}),
    ):
        provider.answer = answer
        place.clock.move(seconds=EVERY_SECONDS)
        assert await place.status(provider.token(key="unknown")) == 401
        assert await place.status(provider.token()) == 200
    assert len(provider.fetched) == 9
    place.clock.move(seconds=KEPT_SECONDS - EVERY_SECONDS * 10)
    assert await place.status(provider.token()) == 200
    place.clock.move(seconds=EVERY_SECONDS * 10)
    async with place.service.client(provider.token()) as client:
        told = await client.get("/v1/jobs")
        assert problem_in(told, 503)["code"] == "IDENTITY_PROVIDER_AWAY"
        assert told.headers["retry-after"] == "5"
    assert await place.status(await place.service.key()) == 200  # API keys need no provider
    provider.answer = None
    place.clock.move(seconds=EVERY_SECONDS)
    assert await place.status(provider.token()) == 200


async def test_a_provider_that_hangs_holds_up_nobody_but_those_who_need_it(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent_runtime.server.jwt.provider_keys.FETCH_SECONDS", 0.5)
    place.provider.answer = Reply(pieces=("hang",))
    waiting = [asyncio.ensure_future(place.status(place.provider.token())) for _ in range(5)]
    await asyncio.sleep(0.05)
    assert not any(each.done() for each in waiting)
    assert await place.status(await place.service.key()) == 200
    async with asyncio.timeout(BOUND):
        assert await asyncio.gather(*waiting) == [503] * 5
    assert len(place.provider.fetched) == 1


async def test_nothing_of_a_token_is_logged_or_stored(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        for token in (place.provider.token(role=Role.OPERATOR), place.provider.token(aud="other")):
            async with place.service.client(token) as client:
                told = await client.post("/v1/jobs", json={"operator": "echo", "input": 1})
                assert told.status_code in (202, 401)
                assert token not in told.text
            signature = token.rpartition(".")[2]
            assert signature not in caplog.text
            assert signature not in repr(vars(place.service.kernel.storage))
            assert token not in redact(f"a token was sent: {token}, and refused")
            assert token not in redact({"headers": {"x": f"Bearer {token}"}})["headers"]["x"]
    assert "it is for another audience" in caplog.text


async def test_a_session_of_a_token_is_like_one_of_a_key(place: Place) -> None:
    token = place.provider.token()
    async with place.service.client() as browser:
        answer = await browser.post("/v1/session", json={"key": token})
        assert answer.status_code == 204
        said = set(answer.headers["set-cookie"].split("; "))
        assert {"HttpOnly", "SameSite=strict", "Path=/", "Max-Age=600"} <= said
        problem_in(await browser.post("/v1/session", json={"key": place.provider.token(aud="other")}), 401)
        problem_in(
            await browser.post("/v1/session", json={"key": place.provider.token(more="x" * 4_000)}), 422
        )
    async with place.service.client(Cookie=f"{COOKIE}={token}") as browser:
        assert (await browser.get("/v1/jobs")).status_code == 200
        job = {"operator": "echo", "input": 1}
        assert OWN_PAGE in problem_in(await browser.post("/v1/jobs", json=job), 403)["detail"]
        assert (await browser.post("/v1/jobs", json=job, headers={OWN_PAGE: "1"})).status_code == 202
        place.clock.move(seconds=600)
        problem_in(await browser.get("/v1/jobs"), 401)


async def test_without_a_provider_no_token_opens_anything() -> None:
    async with IdentityProvider() as provider, service_of(RuntimeKernel()) as service:
        async with service.client(provider.token()) as client:
            assert problem_in(await client.get("/v1/jobs"), 401)["detail"] == "a valid API key is needed"
        async with service.client() as client:
            problem_in(await client.post("/v1/session", json={"key": provider.token()}), 401)
        assert provider.fetched == []


async def test_a_subject_asks_as_often_as_it_may_with_whatever_token() -> None:
    async with IdentityProvider() as provider:
        config = ServerConfig(requests_per_second=0.1, burst=3, jwt=provider.config())
        async with service_of(RuntimeKernel(), config) as service:
            told = []
            for number in range(5):
                async with service.client(provider.token(jti=str(number))) as client:
                    told.append((await client.get("/v1/jobs")).status_code)
            assert told == [200, 200, 200, 429, 429]
            async with service.client(provider.token(sub="another")) as client:
                assert (await client.get("/v1/jobs")).status_code == 200


async def test_a_stream_ends_with_the_token_that_opened_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent_runtime.server.streams.KEY_SECONDS", 0.05)
    clock = FakeClock()
    async with IdentityProvider(clock) as provider:
        kernel = RuntimeKernel(storage=MemoryStorage(), clock=clock)
        config = ServerConfig(jwt=provider.config())
        async with (
            served(kernel, config) as service,
            service.client(provider.token()) as client,
            asyncio.timeout(BOUND),
            client.stream("GET", "/v1/events") as response,
        ):
            assert response.status_code == 200
            lines = response.aiter_lines()
            await anext(lines)
            clock.move(seconds=601)
            async for _ in lines:
                pass


@pytest.mark.parametrize(
    "given",
    [
        {"jwks_url": "http://login.example.com/keys"},
        {"jwks_url": "ftp://login.example.com/keys"},
        {"jwks_url": "file:///etc/passwd"},
        {"jwks_url": "https://"},
        {"jwks_url": "https://user:pw@login.example.com/keys"},
        {"jwks_url": ""},
        {"issuer": ""},
        {"audience": ""},
        {"roles": {}},
        {"roles": {"x": "owner"}},
        {"roles": {"": "viewer"}},
        {"roles": ["viewer"]},
        {"role_claim": ""},
        {"scope_id": "acme"},
        {"scope_claim": None},
        {"scope_claim": ""},
        {"algorithms": ()},
        {"algorithms": "RS256"},
        {"algorithms": ("RS256", "HS256")},
        {"leeway": -1},
    ],
    ids=str,
)
def test_a_provider_that_cannot_be_meant_is_refused(given: dict[str, Any]) -> None:
    right: dict[str, Any] = {
        "issuer": ISSUER,
        "audience": AUDIENCE,
        "jwks_url": "https://login.example.com/keys",
        "roles": ROLES,
        "scope_claim": "org_id",
    }
    assert JwtConfig(**right).roles["agents:viewer"] is Role.VIEWER
    with pytest.raises(InvalidInput):
        JwtConfig(**{**right, **given})


def test_nobody_is_asked_for_a_token_where_nobody_is_asked_for_a_key() -> None:
    config = JwtConfig(
        issuer=ISSUER,
        audience=AUDIENCE,
        jwks_url="https://login.example.com/keys",
        roles=ROLES,
        scope_id="acme",
    )
    with pytest.raises(InvalidInput):
        ServerConfig(jwt=config, authenticate=False)

"""Time redaction of records of 10 KB and of hostile texts of 100 KB: `.venv/bin/python benchmarks/redaction.py`."""

import json
import random
import time
import timeit
from collections.abc import Callable
from functools import partial
from typing import Any

from llm_client.redaction import redact

VOCABULARY = (
    "the model answered with a tool call and task-based results for order 17 on 2026-11-21 costs input_tokens 345"
    " risk-free data {} [1,2] http://x.y/z?a=b gpt-5.2-mini sha256:abcdef key value token"
)
ROUNDS, REPEATS = 20, 9
HOSTILE_SIZE = 100_000
NEAR_MISSES = (
    "api key%3D", "api key: a b ", "signature: ", "cookie: ", "password: digest a=", "curl -u a:", "MIIEpAIBAAKCAQEA\n", '"a","b"\n', "://a:/b@",
    "a.aaaaaaaaaaaaaaaa", "sk-a1\u200b", "\uff41", "<password>x</", 'value="x" name="password" ', "pscale_tkn_", "earer ?key=dckr_oat_",
    '{"kty":"RSA","d":"', "user,password\n", "4111 1111 ", 'form-data; name="password"\r\n\r\n', "--password ", "Private-Lines: 2\n",
)  # fmt: skip
"""What nearly is a secret, of every reader; `tests/security/test_redaction_time.py` has all of them."""


def prose(size: int, seed: int) -> str:
    return " ".join(random.Random(seed).choices(VOCABULARY.split(), k=size // 5))[:size]


def records() -> dict[str, Any]:
    """Return records of about 10 KB as JSON."""
    chat = {
        "model": "gpt-5.2",
        "messages": [{"role": "user", "content": prose(500, seed)} for seed in range(18)],
        "usage": {"input_tokens": 3, "output_tokens": 5},
    }
    calls = [
        {"id": f"call_{n:024x}", "name": "look_up", "arguments": {"order": n}, "at": "2026-11-21T08:00:00Z"}
        for n in range(1, 91)
    ]
    with_secrets = chat | {
        "headers": {"Authorization": "Bearer abcdef0123456789abc"},
        "log": "calling https://user:password@host/x with sk-" + "proj-" + "a1B2" * 20,
    }
    return {
        "a chat": chat,
        "many small values": {"calls": calls},
        "one long text": {"content": json.dumps(calls)},
        "a chat with secrets": with_secrets,
    }


def hostile_texts() -> dict[str, str]:
    """Return near misses, repeated, and a mixture of all of them."""
    draw = random.Random(0)
    mixture = "".join(draw.choices(NEAR_MISSES, k=HOSTILE_SIZE // 8))[:HOSTILE_SIZE]
    return {repr(piece): piece * (HOSTILE_SIZE // len(piece)) for piece in NEAR_MISSES} | {
        "a mixture of them": mixture
    }


def microseconds(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Return how long the process works for one call, at best."""
    return min(timeit.repeat(work, number=rounds, repeat=REPEATS, timer=time.process_time)) / rounds * 1e6


def main() -> None:
    """Print a table of the best of some repetitions."""
    print("| record | bytes | redact, µs | json.dumps, µs |\n|---|---|---|---|")
    for name, record in records().items():
        size = len(json.dumps(record))
        times = [microseconds(partial(work, record)) for work in (redact, json.dumps)]
        print(f"| {name} | {size:,} | {times[0]:,.0f} | {times[1]:,.0f} |")
    print("\n| hostile text of 100 KB | redact, ms |\n|---|---|")
    for name, text in hostile_texts().items():
        print(f"| {name} | {microseconds(partial(redact, text), rounds=1) / 1000:.1f} |")


if __name__ == "__main__":
    main()

"""Prompt packs: what they render to, what is refused, and what a template cannot do."""

import os
from pathlib import Path
from typing import Any

import pytest

from agent_runtime.errors import PromptInvalid
from agent_runtime.runner import template_bounds
from agent_runtime.runner.prompts import MAX_FILE_BYTES, PromptPacks
from llm_client import Message
from support.prompt_packs import prompt_pack


async def rendered(base: Path, name: str = "planner", **variables: Any) -> Any:
    return await PromptPacks(base).render(name, {"goal": "a trip", **variables})


async def test_a_pack_is_rendered_with_the_variables(tmp_path: Path) -> None:
    examples = '{"role": "user", "content": "{{ goal }}"}\n\n{"user": "q", "assistant": {"a": 1}}\n'
    prompt_pack(tmp_path, developer="Be {{ mood }}.", examples=examples)
    prompts = await rendered(tmp_path, mood="brief")

    assert (prompts.system, prompts.developer, prompts.user) == ("You plan.", "Be brief.", "Plan a trip.")
    assert prompts.examples == (Message.user("{{ goal }}"), Message.user("q"), Message.assistant('{"a":1}'))


async def test_a_pack_without_a_question_tells_the_variables(tmp_path: Path) -> None:
    prompt_pack(tmp_path)
    (tmp_path / "planner" / "user.j2").unlink()
    assert (await rendered(tmp_path, response_schema="{}")).user == '{"goal":"a trip"}'


async def test_a_changed_file_counts_at_once(tmp_path: Path) -> None:
    packs = PromptPacks(prompt_pack(tmp_path))
    assert (await packs.render("planner", {"goal": "x"})).user == "Plan x."
    file = tmp_path / "planner" / "user.j2"
    file.write_text("Now {{ goal }}!")
    os.utime(file, ns=(1, 1))
    assert (await packs.render("planner", {"goal": "x"})).user == "Now x!"


async def test_a_template_includes_others_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "shared.j2").write_text("Rules for {{ goal }}.")
    prompt_pack(tmp_path, system="{% include 'shared.j2' %}")
    assert (await rendered(tmp_path)).system == "Rules for a trip."


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"user": "{{ gaol }}"}, "planner/user.j2: 'gaol' is undefined"),
        ({"user": "{% if %}"}, "planner/user.j2, line 1"),
        ({"user": "{{ 1 / 0 }}"}, "ZeroDivisionError"),
        ({"user": "{{ goal + 1 }}"}, "TypeError"),
        ({"user": "{% include '../secret.j2' %}"}, "not in the folder"),
        ({"user": "{% include '/etc/passwd' %}"}, "not in the folder"),
        ({"user": "{% include 'none.j2' %}"}, "cannot be read"),
        ({"user": "x" * (MAX_FILE_BYTES + 1)}, "larger than"),
        ({"examples": "{"}, "line 1: not JSON"),
        ({"examples": '{"role": "system", "content": "x"}'}, "an example is"),
        ({"user": "{{ ''.__class__.__mro__ }}"}, "unsafe"),
        ({"user": "{% for a in [1] %}" * 21 + "{% endfor %}" * 21}, "too many statically nested blocks"),
        ({"user": "{{ goal.__init__.__globals__ }}"}, "unsafe"),
        ({"user": "{{ things.append(1) }}"}, "not safely callable|unsafe"),
        ({"user": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"}, "RecursionError"),
    ],
)
async def test_a_pack_with_a_mistake_is_refused(files: dict[str, str], reason: str, tmp_path: Path) -> None:
    (tmp_path / "secret.j2").write_text("secret")
    prompt_pack(tmp_path / "prompts", **files)
    with pytest.raises(PromptInvalid, match=reason):
        await rendered(tmp_path / "prompts", things=[])


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../other", "/etc", "planner/../../other", "none", "a\x00b", "link"]
)
async def test_a_name_that_leads_elsewhere_is_refused(name: str, tmp_path: Path) -> None:
    prompt_pack(tmp_path, "other")
    base = prompt_pack(tmp_path / "prompts")
    (base / "link").symlink_to(tmp_path / "other")
    with pytest.raises(PromptInvalid):
        await rendered(base, name)


async def test_a_pipe_in_the_place_of_a_template_is_none(tmp_path: Path) -> None:
    """Nobody writes into it: whoever opened it to read would wait for ever."""
    prompt_pack(tmp_path)
    (tmp_path / "planner" / "user.j2").unlink()
    os.mkfifo(tmp_path / "planner" / "user.j2")
    with pytest.raises(PromptInvalid, match=r"user\.j2 cannot be read: it is no file"):
        await rendered(tmp_path)


async def test_a_pack_without_an_instruction_is_refused(tmp_path: Path) -> None:
    prompt_pack(tmp_path)
    (tmp_path / "planner" / "system.j2").unlink()
    with pytest.raises(PromptInvalid, match="has no system"):
        await rendered(tmp_path)


LONG = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
SHARED = (
    "{% set a = namespace() %}{% set n = namespace(x=a) %}{% for i in range(9) %}{% set n.x = dict(a=n.x, b=n.x) %}{% endfor %}"
    "{% set a.x = 'x' * 9999 %}{{ n.x }}"
)
LARGE = [
    "{{ 'x' * 10000000 }}",
    "{{ 10 ** 1000000 }}",
    "{{ '%99999999d' % 1 }}",
    "{{ '%*d' % (99999999, 1) }}",
    "{{ 'x'.ljust(99999999) }}",
    "{{ 'x' | center(99999999) }}",
    "{{ '{:99999999}'.format(1) }}",
    "{{ ('x' * 9999).replace('x', 'y' * 9999) }}",
    "{{ ('x' * 9999) | replace('x', 'y' * 9999) }}",
    "{{ ('x' * 99999).join(range(9999)) }}",
    "{{ range(99999) | join('x' * 99999) }}",
    "{% set n = namespace(x='x' * 1000) %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
    "{% set x %}{% for i in range(9999) %}{{ 'x' * 9999 }}{% endfor %}{% endset %}",
    "{% for i in range(9999) %}{{ 'x' * 9999 }}{% endfor %}",
    "{% set n = namespace(x='xx') %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}",
    "{% set n = namespace(x=[1]) %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}",
    "{% set n = namespace(x=3) %}{% for i in range(60) %}{% set n.x = n.x * n.x %}{% endfor %}",
    "{% set n = namespace(x=3) %}{% for i in range(60) %}{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x }}",
    "{% set n = namespace(x=3) %}{% for i in range(60) %}{% set n.x = {1: n.x, 2: n.x} %}{% endfor %}",
    "{% set n = namespace(x=3) %}{% for i in range(60) %}{% set n.x = (n.x, n.x) %}{% endfor %}",
    "{% set n = namespace(x=3) %}{% for i in range(60) %}{% set n.x = namespace(a=n.x, b=n.x) %}{% endfor %}{{ n.x }}",
    SHARED,
    "{{ ('{0:999999}' * 9000).format(1) }}",
    "{{ ('{:{}}' * 900).format(*range(99999)) }}",
    "{{ ('%999999d' * 900) % (1,) }}",
    "{{ ('%(a)s' * 9000) | format(a='x' * 999) }}",
    "{{ range(99999) | map('center', 99999) | list | length }}",
    "{{ range(99999) | map('string') | join('x' * 9999) }}",
    "{{ ','.join(range(99999) | map('center', 999)) }}",
    "{{ ([[1]] * 9999) | sum(start=[]) }}",
    "{{ [1] | batch(99999, 'x' * 9999) | list | length }}",
    "{{ ('a\n' * 9999) | indent(99999) }}",
    "{{ ('\t' * 9999).expandtabs(99999) }}",
    "{{ ('a' * 9999).translate({97: 'x' * 9999}) }}",
    "{{ ('a' * 999999) | wordwrap(1) }}",
    "{{ ('http://a.b ' * 999) | urlize(target='x' * 9999) }}",
    "{{ ([1] * 9999) | tojson(indent=99999) }}",
    "{{ 1 | round(-999999) }}",
    "{{ goal }}" * 11_000,
]


@pytest.mark.parametrize("template", LARGE)
async def test_a_template_makes_no_text_without_bounds(template: str, tmp_path: Path) -> None:
    prompt_pack(tmp_path, user=template)
    with pytest.raises(PromptInvalid, match=r"a template|the template|'lipsum' is undefined"):
        await rendered(tmp_path)


async def test_a_template_takes_no_time_without_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(template_bounds, "RENDER_SECONDS", 0.05)
    for template in (LONG, LONG.replace("range(99999)", "things")):
        prompt_pack(tmp_path, user=template)
        with pytest.raises(PromptInvalid, match="takes longer than"):
            await rendered(tmp_path, things=["x"] * 100_000)


async def test_ordinary_templates_are_let_alone(tmp_path: Path) -> None:
    template = (
        "{% for one in things %}{{ loop.index * 2 }}. {{ one | upper }} {{ '%05.1f' % 2 }} {{ '%s' | format(one) }}{% endfor %}"
        "{{ '-' * 20 }} {{ things | join(', ') }} {{ 'a-b'.replace('-', '+') }} {{ 'a' ~ 1 }} {{ {'a': 1} | tojson }}"
    )
    prompt_pack(tmp_path, user=template)
    told = (await rendered(tmp_path, things=["x", "y"])).user
    assert told == f"2. X 002.0 x4. Y 002.0 y{'-' * 20} x, y a+b a1 " + '{"a": 1}'


async def test_what_a_template_only_looks_at_may_be_larger_than_what_it_prints(tmp_path: Path) -> None:
    template = (
        "{% for one in things | sort(attribute='rank') %}{{ one.rank }} {{ one.text | truncate(6) }} {{ one.text[:3] }} "
        "{% endfor %}{{ things | length }} {{ things | map(attribute='rank') | join('+') }} {{ number }} {{ number | string }} "
        "{{ (things | selectattr('rank', 'eq', 2) | list)[0].text.split('x') | length }} {{ '{:>4}|{name}'.format(7, name='x') }}"
    )
    prompt_pack(tmp_path, user=template)
    things = [{"rank": rank, "text": "abc x" * 300_000} for rank in (2, 1)]
    told = (await rendered(tmp_path, things=things, number=20_261_130)).user
    assert told == "1 abc... abc 2 abc... abc 2 2+1 20261130 20261130 300001    7|x"

"""Licences and the categories they belong to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runtime.demo.licences import HARMLESS, SEVERITY, judge, recognise

KNOWN = ("MIT", "0BSD", "MPL-2.0", "GPL-3.0-only", "BUSL-1.1")


@pytest.mark.parametrize(
    ("licence", "category"),
    [
        ("MIT", "permissive"),
        ("mit", "permissive"),
        ("Apache-2.0 AND MIT", "permissive"),
        ("CC0-1.0", "public domain"),
        ("MPL-2.0 AND (Apache-2.0 OR MIT)", "weak copyleft"),
        ("GPL-2.0-or-later OR MIT", "permissive"),
        ("GPL-2.0+", "strong copyleft"),
        ("GPL-2.0-only WITH Classpath-exception-2.0", "weak copyleft"),
        ("LGPL-3.0-only", "weak copyleft"),
        ("AGPL-3.0-or-later", "strong copyleft"),
        ("LicenseRef-ours", "unknown"),
        ("LicenseRef-Proprietary", "restricted"),
        ("BSD 3-Clause License", "permissive"),
        ("Apache License, Version 2.0", "permissive"),
        ("GNU Lesser General Public License v3 or later (LGPLv3+)", "weak copyleft"),
        ("GNU Affero General Public License v3", "strong copyleft"),
        ("Mozilla Public License 2.0 (MPL 2.0)", "weak copyleft"),
        ("Python Software Foundation License", "permissive"),
        ("The Unlicense (Unlicense)", "public domain"),
        ("Proprietary", "restricted"),
        ("see the file", "unknown"),
        ("", "unknown"),
        ("MIT License / Apache Software License", "permissive"),
        ("MIT License / GNU General Public License v3 (GPLv3)", "strong copyleft"),
        ("(MIT", "permissive"),
    ],
)
def test_a_licence_belongs_to_its_category(licence: str, category: str) -> None:
    assert judge(licence).category == category


@given(st.text(max_size=600))
def test_any_text_is_judged_and_none_is_refused(text: str) -> None:
    judgement = judge(text)

    assert judgement.licence == text
    assert judgement.category in SEVERITY
    assert judgement.reason


@given(st.lists(st.sampled_from(KNOWN), min_size=1, max_size=6))
def test_a_choice_is_as_mild_as_its_mildest_and_a_sum_as_hard_as_its_hardest(names: list[str]) -> None:
    ranks = [SEVERITY.index(judge(name).category) for name in names]

    assert SEVERITY.index(judge(" OR ".join(names)).category) == min(ranks)
    assert SEVERITY.index(judge(" AND ".join(names)).category) == max(ranks)


def test_and_binds_tighter_than_or() -> None:
    assert judge("MIT OR MIT AND GPL-3.0-only").category == "permissive"
    assert judge("(MIT OR MIT) AND GPL-3.0-only").category == "strong copyleft"


def test_the_words_of_a_licence_give_it_away() -> None:
    mit = "Copyright 2026 Ann\n\nPermission is hereby granted, free of charge, to any person obtaining a copy of …"

    assert recognise(mit) == "MIT"
    assert recognise("GNU LESSER GENERAL PUBLIC LICENSE Version 3") == "LGPL-3.0"
    assert recognise("Do what you like on Tuesdays.") is None
    assert {"permissive", "public domain"} == HARMLESS

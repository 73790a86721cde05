"""What installed packages say of their licences, however they say it."""

import sys
from pathlib import Path

import pytest

from agent_runtime.demo.packages import Evidence, installed, read_evidence


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder that is all that Python finds packages in."""
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    return tmp_path


def install(site: Path, name: str, *lines: str, licence: str | None = None) -> None:
    folder = site / f"{name.replace('-', '_')}-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(
        "\n".join(["Metadata-Version: 2.4", f"Name: {name}", "Version: 1.0", *lines, ""])
    )
    files = [f"{folder.name}/METADATA,,"]
    if licence is not None:
        (folder / "LICENSE").write_text(licence)
        files.append(f"{folder.name}/LICENSE,,")
    (folder / "RECORD").write_text("\n".join([*files, ""]))


def evidence(name: str) -> Evidence:
    (found,) = read_evidence([name])
    return found


def test_the_expression_wins_over_everything_else(site: Path) -> None:
    install(
        site,
        "a",
        "License-Expression: MIT",
        "License: GPL",
        "Classifier: License :: OSI Approved :: BSD License",
    )

    assert evidence("a").statement() == "MIT"


def test_several_classifiers_are_all_stated(site: Path) -> None:
    install(
        site,
        "a",
        "License: UNKNOWN",
        "Classifier: License :: DFSG approved",
        "Classifier: License :: OSI Approved",
        "Classifier: License :: OSI Approved :: MIT License",
        "Classifier: License :: OSI Approved :: Apache Software License",
    )

    assert evidence("a").statement() == "MIT License / Apache Software License"


def test_a_whole_text_in_the_field_is_recognised(site: Path) -> None:
    text = "Permission is hereby granted, free of charge, to any person obtaining a copy"
    install(site, "a", f"License: Copyright Ann{' ' * 100}{text}")

    assert evidence("a").statement() == "MIT"


def test_licence_files_speak_where_the_metadata_is_silent(site: Path) -> None:
    install(site, "a", licence="Mozilla Public License Version 2.0")
    install(site, "b", licence="All yours.")

    assert evidence("a").statement() == "MPL-2.0"
    assert evidence("b").statement() == "unrecognised text"


def test_a_package_that_says_nothing_or_is_not_there_states_nothing(site: Path) -> None:
    install(site, "a")

    assert evidence("a").statement() == ""
    assert (evidence("b").statement(), evidence("b").problem) == ("", "not installed")


def test_packages_are_listed_once_by_name_and_broken_ones_left_out(site: Path) -> None:
    install(site, "Some-Thing")
    install(site, "a")
    (site / "some_thing-2.0.dist-info").mkdir()
    (site / "some_thing-2.0.dist-info" / "METADATA").write_text("Name: some.thing\nVersion: 2.0\n")
    (site / "broken-1.0.dist-info").mkdir()

    assert [package.name.lower().replace(".", "-") for package in installed()] == ["a", "some-thing"]
    assert evidence("SOME_thing").problem is None

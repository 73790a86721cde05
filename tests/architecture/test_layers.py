"""What import-linter's contracts in pyproject.toml cannot say: rules over rooms that come and go."""

import re
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[2]
CORE_ROOMS = {
    "actions", "audit", "events", "execution", "inbox", "jobs", "kernel", "keys", "operators", "worker", "ledger", "orchestration", "plugins", "policy", "ports", "replay", "residents", "schedules", "sessions", "time_zones",
    "values",
}  # fmt: skip


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph(
        "llm_client", "agent_runtime", cache_dir=None, exclude_type_checking_imports=True
    )


@pytest.fixture(scope="module")
def contracts() -> dict[str, dict[str, list[str]]]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        return {
            contract["id"]: contract for contract in tomllib.load(file)["tool"]["importlinter"]["contracts"]
        }


def test_every_core_room_is_kept_free_of_io(
    graph: grimp.ImportGraph, contracts: dict[str, dict[str, list[str]]]
) -> None:
    rooms = {child for child in graph.find_children("agent_runtime") if child.partition(".")[2] in CORE_ROOMS}
    rooms.add("agent_runtime.storage.rules")

    assert rooms == set(contracts["pure-core"]["source_modules"])


def test_every_storage_back_end_is_kept_apart_from_the_others(
    graph: grimp.ImportGraph, contracts: dict[str, dict[str, list[str]]]
) -> None:
    shared = {f"agent_runtime.storage.{name}" for name in ("migrations", "rows", "rules")}
    back_ends = {
        child for child in graph.find_children("agent_runtime.storage") if graph.find_children(child)
    } - shared

    assert back_ends == set(contracts["stores-independent"]["modules"])


def test_the_kernels_rooms_have_no_circle_of_files() -> None:
    """Neither of imports, nor of what only type checkers follow: each file can be read with what lies below it."""
    graph = grimp.build_graph("agent_runtime", cache_dir=None, exclude_type_checking_imports=False)
    rooms = [f"agent_runtime.{room}" for room in ("kernel", "worker", "execution", "operators")]
    files = {file for room in rooms for file in (room, *graph.find_descendants(room))}
    known = {file: graph.find_modules_directly_imported_by(file) & files for file in files}

    assert len(list(TopologicalSorter(known).static_order())) == len(files) > 60


def test_only_the_composition_root_names_a_concrete_store(graph: grimp.ImportGraph) -> None:
    allowed = ("agent_runtime.app", "agent_runtime.storage", "agent_runtime.testing")
    back_ends = {
        child for child in graph.find_children("agent_runtime.storage") if graph.find_children(child)
    }
    importers = {
        importer
        for back_end in back_ends
        for module in {back_end, *graph.find_descendants(back_end)}
        for importer in graph.find_modules_that_directly_import(module)
        if importer != "agent_runtime" and not importer.startswith(allowed)
    }

    assert importers == set()


def test_the_map_for_maintainers_names_every_room_and_no_other(graph: grimp.ImportGraph) -> None:
    page = (ROOT / "AGENTS.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\| `([a-z_]+)` \|", page, flags=re.MULTILINE))
    rooms = {child.partition(".")[2] for child in graph.find_children("agent_runtime")}

    assert named == rooms

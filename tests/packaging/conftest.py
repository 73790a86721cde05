"""What users install, built once: the wheel and the source distribution."""

import subprocess

import pytest

from support.environments import ROOT, Distribution, fresh_environment


@pytest.fixture(scope="session")
def distribution(tmp_path_factory: pytest.TempPathFactory) -> Distribution:
    """Build both from a copy of the tree, with caches in it as any tree has."""
    folder = tmp_path_factory.mktemp("distribution")
    tree = folder / "tree"
    kept = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split("\0")
    for name in filter(None, kept):
        if (source := ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_bytes(source.read_bytes())
    for name in ("src/agent_runtime/__pycache__/app.cpython-311.pyc", "src/llm_client/.DS_Store"):
        (tree / name).parent.mkdir(exist_ok=True)
        (tree / name).write_bytes(b"left over")
    built = fresh_environment(folder / "builder")
    built.install("hatchling")
    built.run("python", "-m", "hatchling", "build", "-d", folder / "dist", cwd=tree)
    (wheel,) = (folder / "dist").glob("*.whl")
    (source,) = (folder / "dist").glob("*.tar.gz")
    return Distribution(wheel, source)

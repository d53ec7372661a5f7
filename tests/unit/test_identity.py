"""What functions and classes are called, whether their module runs or is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from stoker.core.identity import MAX_NAME, name_of, short_name_of
from tests.commands import clean_environment

JOBS = """
import asyncio, dataclasses, multiprocessing, sys
from stoker.core import cached

@dataclasses.dataclass
class Order:
    number: int

@cached(backend="memory")
async def total(order: Order) -> int:
    return order.number

def tell() -> None:
    print(total.key(Order(5)))

if __name__ == "__main__":
    tell()
    if "spawn" in sys.argv:
        child = multiprocessing.get_context("spawn").Process(target=tell)
        child.start()
        child.join()
"""


def run(folder: Path, *arguments: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "jobs.py").write_text(JOBS)
    package = tmp_path / "shop"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "jobs.py").write_text(JOBS)
    (package / "__main__.py").write_text(JOBS)
    return tmp_path


def test_a_script_and_the_module_that_others_import_share_keys(folder: Path) -> None:
    [imported] = run(folder, "-c", "import jobs; jobs.tell()")
    assert imported.startswith("jobs.total.v1:")
    assert run(folder, "jobs.py") == run(folder, str(folder / "jobs.py")) == [imported]
    assert run(folder, "-m", "jobs") == [imported]
    assert run(folder, "jobs.py", "spawn") == [imported, imported]


def test_a_module_of_a_package_and_a_package_that_runs_have_their_names(folder: Path) -> None:
    [imported] = run(folder, "-c", "import shop.jobs; shop.jobs.tell()")
    assert imported.startswith("shop.jobs.total.v1:")
    assert run(folder, "-m", "shop.jobs", "spawn") == [imported, imported]
    [package] = run(folder, "-m", "shop")
    assert package.startswith("shop.__main__.total.v1:")
    assert run(folder, "-c", "import shop.__main__ as m; m.tell()") == [package]


def test_what_is_typed_in_has_no_other_name(folder: Path) -> None:
    program = "async def f(): ...\nfrom stoker.core import cached\nprint(cached()(f).key())"
    [key] = run(folder, "-c", program)
    assert key.startswith("__main__.f.v1:")


def test_a_long_name_is_cut_off_and_stays_its_own() -> None:
    def make(name: str) -> type:
        return type("Long", (), {"__qualname__": name, "__module__": "tests"})

    longest = make("x" * (MAX_NAME - len("tests.")))
    assert short_name_of(longest) == name_of(longest)
    one, other = make("x" * 300 + "a"), make("x" * 300 + "b")
    assert len(short_name_of(one)) == len(short_name_of(other)) == MAX_NAME
    assert short_name_of(one) != short_name_of(other)
    assert short_name_of(one).startswith("tests.xxx")

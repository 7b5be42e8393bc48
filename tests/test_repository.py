"""The repository as a newcomer meets it: links, named tests, layers, sizes."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "tidewire"

LAYERS = {
    "model": set[str](),
    "settings": {"log"},  # of it the form of its addresses
    "access": {"model", "log"},
    "log": {"model"},
    "uploads": {"model", "log"},
    "hub": {"model", "log"},
    "transports": {"model", "access", "log", "hub", "uploads"},
    "console": set[str](),
    "server": {"model", "settings", "access", "log", "hub", "uploads", "transports", "console"},
    "client": set[str](),
    "cli": {"model", "settings", "access", "server", "client"},
}
"""Which packages each package may import: arrows point downwards only."""

ENTRY_POINTS = {"__init__", "__main__"}
"""Modules of the top package: they only start or name what is below."""

MAX_LINES = 600

LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
REGISTRY = re.compile(
    r"\b(pypi\.org|pythonhosted\.org|registry\.npmjs\.org|registry\.yarnpkg\.com|crates\.io"
    r"|proxy\.golang\.org|rubygems\.org|docker\.io|ghcr\.io|quay\.io"
    r"|artifactory|nexus\.|devpi|find-links|index-url)"
)
MACHINE_PATH = re.compile(r"(?<![\w./~-])/(home|root|Users|work|mnt|workspace|builds?)/[\w.-]")
TEST_NAME = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


def read(path: Path) -> str:
    return path.read_text("utf-8")


def tracked_files() -> list[Path]:
    """Every file that git tracks or would add."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout
    files = {ROOT / name for name in listed.decode().split("\0") if name}
    return sorted(path for path in files if path.is_file())


def text_files() -> dict[Path, str]:
    """The tracked files that are text, by path."""
    texts = {}
    for path in tracked_files():
        content = path.read_bytes()
        if b"\0" not in content:
            texts[path] = content.decode("utf-8")
    return texts


def headings(markdown: str) -> set[str]:
    """The anchors that a page offers, as code hosts make them from headings."""
    prose = re.sub(r"^```.*?^```", "", markdown, flags=re.DOTALL | re.MULTILINE)
    found = set()
    for title in re.findall(r"^#+ (.+)$", prose, re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).replace("`", "")
        found.add(re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-"))
    return found


def markdown_pages() -> list[str]:
    return [str(path.relative_to(ROOT)) for path in tracked_files() if path.suffix == ".md"]


@pytest.mark.parametrize("page", markdown_pages())
def test_links_lead_somewhere(page: str) -> None:
    path = ROOT / page
    broken = []
    for target in LINK.findall(read(path)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        if not file.exists() or (anchor and anchor not in headings(read(file))):
            broken.append(target)
    assert broken == []


def test_named_tests_exist() -> None:
    """What docs/requirements.md and other pages name as proof is there."""
    named = 0
    missing = []
    for page in markdown_pages():
        for name, test in TEST_NAME.findall(read(ROOT / page)):
            named += 1
            file = ROOT / name
            if not file.is_file():
                missing.append(f"{page}: {name}")
            elif test and not re.search(rf"^\s*(async )?def {test}\(", read(file), re.M):
                missing.append(f"{page}: {name}::{test}")
    assert missing == []
    assert named > 0


def test_requirements_are_all_there() -> None:
    """Each row once; a row that works names a test, one that does not says that it is planned."""
    text = read(ROOT / "docs" / "requirements.md")
    rows = dict(re.findall(r"^\| ([SWLPC]\d+) \| (.+) \|$", text, re.MULTILINE))
    counts = {"S": 16, "W": 17, "L": 10, "P": 6, "C": 4}
    assert list(rows) == [f"{k}{i}" for k, n in counts.items() for i in range(1, n + 1)]
    unproven = [
        row
        for row, cells in rows.items()
        if not TEST_NAME.search(cells) and not re.search(r"\bplanned\b", cells)
    ]
    assert unproven == []


def test_every_guarantee_names_its_test() -> None:
    """Each row of a table with a column "shown by" has a test in it."""
    unproven = []
    for table in re.findall(r"(?:^\|.*\n)+", read(ROOT / "docs" / "guarantees.md"), re.MULTILINE):
        head, _, *rows = table.splitlines()
        if "shown by" in head:
            unproven += [row for row in rows if not TEST_NAME.search(row.split("|")[-2])]
        else:
            assert "| shown by |" in table, f"nothing shows this table: {head}"
    assert unproven == []


def test_nothing_of_one_machine_is_in_a_file() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path, text in text_files().items()
        if path != Path(__file__)
        for pattern in (REGISTRY, MACHINE_PATH)
        for match in pattern.finditer(text)
    ]
    assert found == []


def test_files_stay_short() -> None:
    code = {".py", ".js", ".ts", ".css", ".html", ".c", ".sh"}
    long = {
        str(path.relative_to(ROOT)): lines
        for path, text in text_files().items()
        if path.suffix in code and (lines := text.count("\n")) > MAX_LINES
    }
    assert long == {}


def imported_packages(path: Path) -> set[str]:
    """The packages of tidewire that a module imports, at whatever depth of its code."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse(read(path))):
        if isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: import by absolute names"
            if node.module == "tidewire":
                modules.update(f"tidewire.{alias.name}" for alias in node.names)
            elif node.module:
                modules.add(node.module)
    parts = [module.split(".") for module in modules]
    return {names[1] for names in parts if names[0] == "tidewire" and len(names) > 1}


def test_dependencies_point_downwards() -> None:
    wrong: list[str] = []
    for path in sorted(PACKAGE.rglob("*.py")):
        package = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if package in ENTRY_POINTS:
            continue
        assert package in LAYERS, f"give {package} its place in LAYERS"
        above = (imported_packages(path) & LAYERS.keys()) - LAYERS[package] - {package}
        wrong += (f"{path.relative_to(ROOT)} imports {other}" for other in sorted(above))
    assert wrong == []


def test_ci_runs_what_people_run() -> None:
    commands = [
        line
        for line in read(ROOT / ".ci" / "run").splitlines()
        if line and not line.startswith(("#", "set ", "cd "))
    ]
    assert commands == ["exec make test < /dev/null"]


def test_both_readmes_say_the_same() -> None:
    """Headings, code, tables and links of the Chinese page follow the English one."""

    def shape(name: str) -> dict[str, list[str]]:
        text = read(ROOT / name)
        code = re.findall(r"^```.*?^```", text, re.DOTALL | re.MULTILINE)
        links = [
            link
            for link in LINK.findall(text)
            if not link.startswith("#") and not link.startswith("README")
        ]
        return {
            "headings": re.findall(r"^#+(?= )", text, re.MULTILINE),
            "code": code,
            "links": links,
            "tables": [str(row.count("|")) for row in text.splitlines() if row.startswith("|")],
            "points": re.findall(r"^- ", text, re.MULTILINE),
        }

    assert shape("README.md") == shape("README.zh-CN.md")

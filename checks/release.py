"""`make release`: build the packages, compare them with the tree, use the wheel as a new user would; upload nothing.

1. Build the source package and the wheel into dist/.
2. Compare their metadata and files with the tree.
3. Build the wheel again from the source package: it must be the same.
4. Type the first chapter of the README in an empty folder: a new environment, the wheel and its dependencies from the
   package index, a worker, and the first program with what it prints.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from packaging.metadata import Metadata

from checks.tree import files_of, git
from tests.examples.typist import Typist

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist"
VERSION_FILE = "src/posthorse/version.py"
NOT_IN_SOURCE_PACKAGE = re.compile(r"\.(?!gitignore$|pre-commit-config\.yaml$)")
"""Files for the hosts of the repository and for editors."""


def main() -> int:
    """Do all of it; return the exit code."""
    source, wheel = build(ROOT, DIST)
    complaints = [
        *complaints_about_wheel(wheel),
        *complaints_about_source(source),
        *complaints_about_rebuilt(source, wheel),
    ]
    if complaints:
        print(*complaints, sep="\n", file=sys.stderr)
        return 1
    print(f"{source.name} and {wheel.name} are whole. Now the README, with the wheel in an empty environment …")
    with tempfile.TemporaryDirectory(prefix="posthorse-release-") as folder:
        type_first_chapter(wheel, Path(folder))
    print(
        f"The first program of the README works. Both packages are in {DIST.relative_to(ROOT)}; nothing was uploaded."
    )
    for note in notes():
        print(f"Before you publish: {note}")
    return 0


def build(tree: Path, into: Path) -> tuple[Path, Path]:
    """Build both packages of a tree into an emptied folder; return the source package and the wheel."""
    shutil.rmtree(into, ignore_errors=True)
    ran = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--directory", str(into)],
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode:
        raise SystemExit(f"hatchling could not build {tree}:\n{ran.stdout}{ran.stderr}")
    [source], [wheel] = into.glob("*.tar.gz"), into.glob("*.whl")
    return source, wheel


def version() -> str:
    """Return the version, from the one place that has it."""
    found = re.search(r'^VERSION = "(.+)"$', (ROOT / VERSION_FILE).read_text(encoding="utf-8"), re.M)
    assert found is not None, f"{VERSION_FILE} has no VERSION"
    return found[1]


def complaints_about_wheel(wheel: Path) -> Iterator[str]:
    """Yield what is wrong with the metadata or the files of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    information = f"posthorse-{version()}.dist-info"
    if f"{information}/METADATA" not in files:
        yield f"{wheel.name} has no {information}/METADATA; {VERSION_FILE} says {version()}"
        return
    yield from complaints_about_metadata(files[f"{information}/METADATA"])
    package = ROOT / "src"
    expected = {
        str(path.relative_to(package)) for path in map(ROOT.joinpath, files_of(ROOT)) if package in path.parents
    }
    found = {name for name in files if not name.startswith(f"{information}/")}
    yield from (f"{wheel.name} lacks {name}" for name in sorted(expected - found))
    yield from (f"{wheel.name} has {name}, which is not a file of the package" for name in sorted(found - expected))
    if files.get(f"{information}/licenses/LICENSE") != (ROOT / "LICENSE").read_bytes():
        yield f"{wheel.name} lacks the LICENSE"
    if b"posthorse = posthorse.cli:main" not in files.get(f"{information}/entry_points.txt", b""):
        yield f"{wheel.name} does not install the command posthorse"


def complaints_about_metadata(text: bytes) -> Iterator[str]:
    """Yield what is wrong with a METADATA file: what an index would refuse, and what a reader would miss."""
    try:
        metadata = Metadata.from_email(text, validate=True)
    except ExceptionGroup as group:
        yield from (f"metadata: {error}" for error in group.exceptions)
        return
    if metadata.description_content_type != "text/markdown":
        yield f"metadata: the description is {metadata.description_content_type}, not text/markdown"
    if (metadata.description or "").strip() != (ROOT / "README.md").read_text(encoding="utf-8").strip():
        yield "metadata: the description is not the README"
    for field in ("author", "summary", "keywords", "classifiers", "license_expression", "requires_python"):
        if not getattr(metadata, field):
            yield f"metadata: {field} is empty"


def complaints_about_source(source: Path) -> Iterator[str]:
    """Yield each tracked file that a source package lacks, and what it has beside them."""
    with tarfile.open(source) as archive:
        found = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    expected = {name for name in files_of(ROOT) if not NOT_IN_SOURCE_PACKAGE.match(name)} | {"PKG-INFO", ".gitignore"}
    yield from (
        f"{source.name} lacks {name}: see the sdist table of pyproject.toml" for name in sorted(expected - found)
    )
    yield from (f"{source.name} has {name}, which git does not track" for name in sorted(found - expected))


def complaints_about_rebuilt(source: Path, wheel: Path) -> Iterator[str]:
    """Build a wheel from the source package alone, and complain if it differs from the one of the tree."""
    with tempfile.TemporaryDirectory(prefix="posthorse-release-") as folder:
        with tarfile.open(source) as archive:
            archive.extractall(folder, filter="data")
        [unpacked] = Path(folder).iterdir()
        _, again = build(unpacked, Path(folder) / "dist")
        if again.read_bytes() != wheel.read_bytes():
            yield f"{wheel.name} differs from the wheel that is built from {source.name}"


def type_first_chapter(wheel: Path, folder: Path) -> None:
    """Type the first chapter of the README in a folder, with this wheel where it says `pip install posthorse`."""
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    chapter = page.partition("\n## A first job\n")[2].partition("\n## ")[0]
    assert "pip install posthorse\n" in chapter, "the README has another first chapter"
    typed = folder / "typed"
    typed.mkdir()
    with Typist(typed, wheels=None, instead={"pip install posthorse": f"pip install --quiet {wheel}"}) as typist:
        typist.type(chapter)
    command = [str(typed / ".venv" / "bin" / "posthorse"), "--version"]
    printed = subprocess.run(command, cwd=typed, check=True, capture_output=True, text=True).stdout
    assert version() in printed.split(), f"posthorse --version prints {printed!r}, not {version()}"


def notes() -> Iterator[str]:
    """Yield what does not make the packages wrong, and must be done before they are published."""
    if git(ROOT, "status", "--porcelain"):
        yield "commit your changes; the packages were built from them"
    if f"## [{version()}]" not in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"):
        yield f"CHANGELOG.md has no heading for {version()}"
    if f"v{version()}" not in (git(ROOT, "tag", "--points-at", "HEAD") or "").split():
        yield f"tag the commit v{version()}"


if __name__ == "__main__":
    sys.exit(main())

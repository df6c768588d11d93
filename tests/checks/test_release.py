"""The packages of the working tree are complete, and `make release` refuses incomplete ones."""

from __future__ import annotations

import io
import shutil
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from checks import release
from posthorse.version import VERSION

INFORMATION = f"posthorse-{VERSION}.dist-info"


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return release.build(release.ROOT, tmp_path_factory.mktemp("dist"))


def changed(wheel: Path, folder: Path, *, without: str = "", extra: Mapping[str, bytes] | None = None) -> Path:
    """Return a copy of a wheel without one file, and with others added or replaced."""
    copy = folder / wheel.name
    with zipfile.ZipFile(wheel) as archive, zipfile.ZipFile(copy, "w") as written:
        for name in archive.namelist():
            if name != without and name not in (extra or {}):
                written.writestr(name, archive.read(name))
        for name, content in (extra or {}).items():
            written.writestr(name, content)
    return copy


def test_both_packages_of_this_tree_are_whole(packages: tuple[Path, Path]) -> None:
    source, wheel = packages
    assert [*release.complaints_about_wheel(wheel), *release.complaints_about_source(source)] == []
    assert [*release.complaints_about_rebuilt(source, wheel)] == []


def test_the_version_is_the_one_that_the_package_has() -> None:
    assert release.version() == VERSION


@pytest.mark.parametrize(
    "name",
    ["posthorse/py.typed", "posthorse/store/sql/shared.sql", "posthorse/errors.py", "posthorse/__init__.py"],
)
def test_a_wheel_that_lacks_a_file_of_the_package_is_refused(
    packages: tuple[Path, Path], tmp_path: Path, name: str
) -> None:
    wheel = changed(packages[1], tmp_path, without=name)
    assert [*release.complaints_about_wheel(wheel)] == [f"{wheel.name} lacks {name}"]


def test_a_wheel_without_its_license_or_its_command_is_refused(packages: tuple[Path, Path], tmp_path: Path) -> None:
    wheel = changed(packages[1], tmp_path, without=f"{INFORMATION}/licenses/LICENSE")
    assert [*release.complaints_about_wheel(wheel)] == [f"{wheel.name} lacks the LICENSE"]
    wheel = changed(packages[1], tmp_path, without=f"{INFORMATION}/entry_points.txt")
    assert [*release.complaints_about_wheel(wheel)] == [f"{wheel.name} does not install the command posthorse"]


def test_a_wheel_with_tests_is_refused(packages: tuple[Path, Path], tmp_path: Path) -> None:
    wheel = changed(packages[1], tmp_path, extra={"tests/test_a.py": b""})
    assert [*release.complaints_about_wheel(wheel)] == [
        f"{wheel.name} has tests/test_a.py, which is not a file of the package"
    ]


def test_a_wheel_of_another_version_is_refused(packages: tuple[Path, Path], tmp_path: Path) -> None:
    wheel = changed(packages[1], tmp_path, without=f"{INFORMATION}/METADATA")
    [complaint] = release.complaints_about_wheel(wheel)
    assert complaint.endswith(f"says {VERSION}")


@pytest.mark.parametrize(
    ("there", "instead", "complaint"),
    [
        (b"Name: posthorse\n", b"", "'name' is a required field"),
        (b"text/markdown", b"text/plain", "the description is text/plain"),
        (b"# Posthorse\n", b"# Another\n", "the description is not the README"),
        (b"Requires-Dist: click>=8.1", b"Requires-Dist: click>>8", "'click>>8' is invalid"),
        (b"Author: ", b"Maintainer: ", "author is empty"),
    ],
)
def test_metadata_that_an_index_or_a_reader_would_miss_is_refused(
    packages: tuple[Path, Path], there: bytes, instead: bytes, complaint: str
) -> None:
    with zipfile.ZipFile(packages[1]) as archive:
        text = archive.read(f"{INFORMATION}/METADATA")
    assert there in text
    assert complaint in "\n".join(release.complaints_about_metadata(text.replace(there, instead, 1)))


def test_a_source_package_that_lacks_or_adds_a_file_is_refused(packages: tuple[Path, Path], tmp_path: Path) -> None:
    copy = tmp_path / packages[0].name
    with tarfile.open(packages[0]) as archive, tarfile.open(copy, "w:gz") as written:
        for member in archive.getmembers():
            if not member.name.endswith("/README.md"):
                written.addfile(member, archive.extractfile(member))
        written.addfile(tarfile.TarInfo(f"posthorse-{VERSION}/notes.txt"), io.BytesIO())
    assert [*release.complaints_about_source(copy)] == [
        f"{copy.name} lacks README.md: see the sdist table of pyproject.toml",
        f"{copy.name} has notes.txt, which git does not track",
    ]


def test_a_source_package_that_makes_another_wheel_is_refused(packages: tuple[Path, Path], tmp_path: Path) -> None:
    source = Path(shutil.copy(packages[0], tmp_path))
    wheel = changed(packages[1], tmp_path, extra={"posthorse/new.py": b""})
    assert [*release.complaints_about_rebuilt(source, wheel)] == [
        f"{wheel.name} differs from the wheel that is built from {source.name}"
    ]

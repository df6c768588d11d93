"""Sizes as people write them, and back."""

from __future__ import annotations

import pytest

from posthorse.errors import InvalidOption
from posthorse.rules.byte_sizes import as_bytes, size_text


@pytest.mark.parametrize(
    ("written", "size"),
    [(7, 7), ("7", 7), ("512MB", 512_000_000), ("1.5 gb", 1_500_000_000), ("64KiB", 65_536), (" 2GiB ", 2 * 2**30)],
)
def test_a_size_is_read_as_it_is_meant(written: int | str, size: int) -> None:
    assert as_bytes(written, name="max_memory") == size


@pytest.mark.parametrize("written", [0, -1, True, 1.5, "", "MB", "1 XB", "-1MB", "1e9", None, 2**61])
def test_what_is_no_size_is_refused_by_the_name_of_its_option(written: object) -> None:
    with pytest.raises(InvalidOption, match="max_memory is"):
        as_bytes(written, name="max_memory")  # type: ignore[arg-type]  # refused


@pytest.mark.parametrize(
    ("size", "text"), [(12, "12 bytes"), (1_000, "1 kB"), (512_000_000, "512 MB"), (1_640_000_000, "1.6 GB")]
)
def test_a_size_is_shown_in_the_unit_that_fits(size: int, text: str) -> None:
    assert size_text(size) == text

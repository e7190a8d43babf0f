"""Lines of an import file: numbers, offsets, and the longest line that is read whole."""

import io

import pytest

from spawn.application.imports.files.file_records import read_physical_lines

MEBIBYTE = 1_048_576


@pytest.mark.parametrize(
    ("line", "is_complete"),
    [
        (b"x" * (MEBIBYTE - 1), True),
        (b"x" * MEBIBYTE, True),
        (b"x" * MEBIBYTE + b"\n", True),
        (b"x" * (MEBIBYTE + 1), False),
        (b"x" * (MEBIBYTE + 1) + b"\n", False),
    ],
    ids=["less", "most", "most with its break", "more", "more with its break"],
)
def test_a_line_is_read_whole_up_to_one_mebibyte(line: bytes, *, is_complete: bool) -> None:
    (number, end, raw, whole), *_ = read_physical_lines(io.BytesIO(line))
    assert (number, end, whole) == (1, len(line), is_complete)
    assert raw == line[: MEBIBYTE + 1]


def test_the_line_after_a_long_one_has_its_number_and_offset() -> None:
    long = b"x" * (3 * MEBIBYTE) + b"\n"
    lines = list(read_physical_lines(io.BytesIO(b"a\n" + long + b"b\n")))
    assert [(number, end) for number, end, _, _ in lines] == [
        (1, 2),
        (2, 2 + len(long)),
        (3, 4 + len(long)),
    ]
    assert lines[2][2:] == (b"b\n", True)

"""Uploaded text as a stream of bytes with line feeds, in encodings that contain them as one byte.

A byte order mark decides the encoding. UTF-16 and UTF-32 become UTF-8, and where lines end with
carriage returns alone, these become line feeds. Other files are read as they are.
"""

import codecs
import io
import re
from collections.abc import Callable
from typing import BinaryIO, Final

import msgspec

from spawn.domain.errors import InvalidInput
from spawn.domain.imports.mapping import UTF_16_ENCODINGS
from spawn.ports.runtime import ReadableFile

_SAMPLE_BYTES: Final = 64 * 1024
_BLOCK_BYTES: Final = 64 * 1024
_RECOGNIZED_BYTES: Final = 256
_MIN_CHARACTERS: Final = 4
_UTF_8: Final = ("utf-8",)
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # Before UTF-16, whose mark it begins with.
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_OTHER_FORMATS: Final = {
    b"PK\x03\x04": "a ZIP archive; post a workbook as XLSX, and unpack others",
    b"\x1f\x8b": "compressed with gzip; unpack it",
    b"\x28\xb5\x2f\xfd": "compressed with Zstandard; unpack it",
    b"%PDF-": "a PDF document; export its tables as CSV",
    b"\xd0\xcf\x11\xe0": "an .xls workbook; save it as .xlsx or CSV",
    b"PAR1": "a Parquet file; export it as CSV or NDJSON",
}
"""Beginnings of files that are often posted as text."""
_QUOTED = re.compile(rb'"[^"]*"')
_LINE_END = re.compile(rb"\r\n?|\n")


class TextStream(msgspec.Struct, frozen=True):
    """A stream of lines, its encodings, and the bytes of a mark before it."""

    file: BinaryIO
    encodings: tuple[str, ...]
    start: int


def open_text(source: ReadableFile, encodings: tuple[str, ...]) -> TextStream:
    """Open a file of text, in one of `encodings` if it has no byte order mark.

    Raises:
        InvalidInput: the file is no text but an archive, a workbook or a document.
    """
    file = source.open("rb")
    sample = file.read(_SAMPLE_BYTES)
    if (name := _name_other_format(sample)) is not None:
        file.close()
        raise InvalidInput.at("", "not_text", f"The file is no text: it is {name}.")
    mark, encoding = _find_encoding(sample, encodings)
    file.seek(len(mark))
    if encoding is None:
        stream: BinaryIO = file
    elif encoding == "utf-8":
        # A line in another encoding of the mapping stays readable.
        others = (name for name in encodings if name not in UTF_16_ENCODINGS)
        stream, encodings = file, tuple(dict.fromkeys((*_UTF_8, *others)))
    else:
        text = sample[len(mark) :].decode(encoding, "ignore")
        sample, encodings = text.encode("utf-8", "ignore"), _UTF_8
        stream = _translate(file, _Recoder(encoding).convert)
    if _ends_with_carriage_return(sample):
        stream = _translate(stream, _LineFeeds().convert)
    return TextStream(stream, encodings, len(mark))


def _name_other_format(sample: bytes) -> str | None:
    """Return the kind of a file that is no text, by its beginning."""
    names = (name for mark, name in _OTHER_FORMATS.items() if sample.startswith(mark))
    return next(names, None)


def _find_encoding(sample: bytes, encodings: tuple[str, ...]) -> tuple[bytes, str | None]:
    """Return the mark and the encoding that it names; without one, that of UTF-16 text."""
    for mark, encoding in _MARKS:
        if sample.startswith(mark):
            return mark, encoding
    if encodings[0] not in UTF_16_ENCODINGS:
        return b"", _recognize_utf_16(sample)
    if encodings[0] == "utf-16":
        return b"", "utf-16-be" if sample[:1] == b"\0" else "utf-16-le"
    return b"", encodings[0]


def _recognize_utf_16(sample: bytes) -> str | None:
    """Return the encoding of a text with U+0000 in every other byte at its beginning.

    A header consists mostly of ASCII, which UTF-16 writes so.
    """
    head = sample[:_RECOGNIZED_BYTES]
    zeros = [head[start::2].count(0) for start in (0, 1)]
    half = len(head) // 2
    for encoding, most, fewest in (("utf-16-be", 0, 1), ("utf-16-le", 1, 0)):
        if half >= _MIN_CHARACTERS and zeros[most] * 4 >= half * 3 and not zeros[fewest]:
            return encoding
    return None


def _ends_with_carriage_return(sample: bytes) -> bool:
    """Return whether the first line ends with a carriage return alone."""
    if b"\r" not in sample:
        return False
    end = _LINE_END.search(_QUOTED.sub(b"", sample))
    return end is not None and end[0] == b"\r"


class _Recoder:
    """Converter of blocks of one encoding to UTF-8."""

    def __init__(self, encoding: str) -> None:
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._encoding = encoding

    def convert(self, block: bytes) -> bytes:
        try:
            return self._decoder.decode(block, final=not block).encode()
        except UnicodeError:
            detail = f"The file is not {self._encoding.upper()}: it ends early or is damaged."
            raise InvalidInput.at("", "undecodable", detail) from None


class _LineFeeds:
    """Converter of blocks with line ends of any kind to line feeds."""

    def __init__(self) -> None:
        self._is_open = False

    def convert(self, block: bytes) -> bytes:
        if self._is_open and block.startswith(b"\n"):
            block = block[1:]  # The carriage return before it was a line end already.
        if block:
            self._is_open = block.endswith(b"\r")
        return block.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


class _Translated(io.RawIOBase):
    """A stream of blocks that a function has converted."""

    def __init__(self, source: BinaryIO, convert: Callable[[bytes], bytes]) -> None:
        super().__init__()
        self._source = source
        self._convert = convert
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]  # a writable buffer
        while not self._rest:
            block = self._source.read(_BLOCK_BYTES)
            self._rest = self._convert(block)
            if not block:
                break
        size = min(len(view), len(self._rest))
        view[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size

    def close(self) -> None:
        self._source.close()
        super().close()


def _translate(source: BinaryIO, convert: Callable[[bytes], bytes]) -> BinaryIO:
    return io.BufferedReader(_Translated(source, convert), _BLOCK_BYTES)

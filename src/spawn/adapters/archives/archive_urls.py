"""Addresses of backups: `file:///folder` or `s3://bucket/prefix`, and what opens them."""

import re
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

from spawn.adapters.archives.bucket_archive import BucketArchive
from spawn.adapters.archives.folder_archive import FolderArchive
from spawn.adapters.embedded.archive import Archive
from spawn.domain.errors import InvalidInput

# The rules of S3 for names of buckets; some servers also have names with capitals.
_BUCKET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{1,61}[A-Za-z0-9]")
_PREFIX: Final = re.compile(r"[A-Za-z0-9!_.*'()/=+@-]{0,500}")


class ArchiveAddress(NamedTuple):
    """Parsed address of backups: a folder, or a bucket with a prefix."""

    folder: Path | None = None
    bucket: str = ""
    prefix: str = ""

    def open(self) -> Archive:
        """Return the archive; nothing is read yet."""
        if self.folder is not None:
            return FolderArchive(self.folder)
        return BucketArchive(self.bucket, self.prefix)


def parse_archive_url(url: str) -> ArchiveAddress:
    """Return the place that a URL of backups names.

    Raises:
        InvalidInput: another scheme, no absolute path or bucket, credentials, a query, a fragment.
    """
    scheme = urlsplit(url).scheme
    if scheme == "file":
        return ArchiveAddress(folder=_parse_folder(url))
    if scheme == "s3":
        return _parse_bucket(url)
    raise InvalidInput.at(
        "",
        "unknown_scheme",
        "Backups go to a folder (file:///absolute/path) or a bucket (s3://bucket/prefix), not to"
        f" {scheme or '(none)'!r}.",
    )


def _parse_folder(url: str) -> Path:
    parts = urlsplit(url)
    path = Path(unquote(parts.path))
    if parts.netloc or parts.query or parts.fragment or not path.is_absolute():
        raise InvalidInput.at(
            "", "url_malformed", "A folder of backups is file:///absolute/path, without a host."
        )
    return path


def _parse_bucket(url: str) -> ArchiveAddress:
    parts = urlsplit(url)
    prefix = unquote(parts.path).strip("/")
    names = prefix.split("/") if prefix else []
    if (
        not _BUCKET.fullmatch(parts.netloc)
        or not _PREFIX.fullmatch(prefix)
        or parts.query
        or parts.fragment
        or any(name in {"", ".", ".."} for name in names)
    ):
        # Without the text: a user may have written the credentials into it.
        raise InvalidInput.at(
            "",
            "url_malformed",
            "A bucket of backups is s3://bucket/prefix; credentials and the address of the server"
            " are in AWS's variables or files, never in the URL.",
        )
    return ArchiveAddress(bucket=parts.netloc, prefix=prefix)


def open_archive(text: str) -> Archive:
    """Return the archive of a URL, or of the path of a folder.

    Raises:
        InvalidInput: see `parse_archive_url`.
    """
    if re.match(r"(s3|file):", text):
        return parse_archive_url(text).open()
    return FolderArchive(Path(text))

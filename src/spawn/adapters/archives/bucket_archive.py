"""Backups in a bucket of an object store that speaks S3.

A bucket has no lock. Objects are therefore never overwritten, but for the index of a set, which is
replaced only if it is the one that was read; claims of epochs are created only if they are absent.
Both are conditional writes (RFC 9110, section 13), and a server that ignores the conditions is
rejected.
"""

import errno
import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import quote, urlsplit
from uuid import uuid4

from spawn.adapters.archives.aws_profile import AwsFiles
from spawn.adapters.archives.durable_files import PARTIAL_SUFFIX, hash_file, remove_partial_files
from spawn.adapters.embedded.synced_folders import create_folder
from spawn.domain.errors import StorageBusy, StorageDamaged, Unavailable

if TYPE_CHECKING:
    from obstore.store import S3Store

PACKAGE: Final = "obstore"
"""Package of the client, of the extra `s3`."""

T = TypeVar("T")

_PROBE: Final = "conditional-writes.probe"
_CHUNK_BYTES: Final = 1024 * 1024
_PART_BYTES: Final = 8 * 1024 * 1024
_CONNECT_TIMEOUT: Final = timedelta(seconds=5)
_REQUEST_TIMEOUT: Final = timedelta(seconds=60)
_RETRY_TIMEOUT: Final = timedelta(seconds=30)
_FIRST_DELAY: Final = timedelta(milliseconds=200)
_LONGEST_DELAY: Final = timedelta(seconds=5)
_RETRIES: Final = 6
_CONFLICTS: Final = 3
"""Attempts at a conditional write that the server rejects although nobody else has written."""

_CREDENTIALS_TTL: Final = timedelta(minutes=5)

_CODE: Final = re.compile(r"<Code>([A-Za-z]{3,60})</Code>")
_STATUS: Final = re.compile(r"status code: ([0-9]{3})")
_REMEDIES: Final = {
    "NoSuchBucket": "create the bucket, or correct SPAWN_BACKUP_URL",
    "AccessDenied": "allow to list, get, put and delete objects below the prefix",
    "403": "check the credentials, and what they allow",
    "InvalidAccessKeyId": "check the credentials",
    "SignatureDoesNotMatch": "check the credentials and the region",
    "ExpiredToken": "renew the credentials",
    "RequestTimeTooSkewed": "set the clock of this machine",
    "PermanentRedirect": "set AWS_REGION to the region of the bucket",
    "AuthorizationHeaderMalformed": "set AWS_REGION to the region of the bucket",
    "SlowDown": "the server is overloaded; the next backup tries again",
    "NotImplemented": "the server has no conditional writes: use one that has",
}
_SIGNS: Final = (
    ("credential", "no credentials"),
    ("metadata", "no credentials"),
    ("CA certificates", "no certificates of authorities (SSL_CERT_FILE, AWS_CA_BUNDLE)"),
    ("Connect", "no connection to the server"),
    ("Timeout", "no response in time"),
    ("Request", "the connection was lost"),
)
"""Parts of the texts of the client's errors that no response caused, and their meaning."""

_DENIED: Final = frozenset(
    {"AccessDenied", "403", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"}
)


class BucketArchive:
    """Archive in a bucket, below a prefix; see `Archive`.

    Args:
        bucket: name of the bucket.
        prefix: of the names of all objects, without slashes at the ends; may be empty.
        environ: that has the address of the server and the credentials, by AWS's names.
    """

    def __init__(self, bucket: str, prefix: str, environ: Mapping[str, str] | None = None) -> None:
        self._bucket = bucket
        self._prefix = prefix
        self._environ = os.environ if environ is None else environ
        self._opened: S3Store | None = None
        self._versions: dict[str, str | None] = {}
        self._is_probed = False

    def __str__(self) -> str:
        return self.url

    @property
    def url(self) -> str:
        """Address of the prefix, as in the setting."""
        return f"s3://{self._bucket}/{quote(self._prefix)}".rstrip("/")

    # -- reading ----------------------------------------------------------------------------

    def exists(self) -> bool:
        """Return True: a bucket has no folders, and a missing bucket fails each operation."""
        return True

    def contains(self, path: Path) -> bool:  # noqa: ARG002 -- of the protocol
        """Return False: no local path lies in a bucket."""
        return False

    def require_space(self, reserve_bytes: int) -> None:
        """Do nothing: an object store does not tell its space."""

    def list_names(self, prefix: str) -> list[str]:
        """Return the names of objects, of as many pages as there are."""
        # The store lists whole parts of a path, so the rest of the prefix is compared here.
        folder = prefix.rpartition("/")[0]

        def collect(store: "S3Store") -> list[str]:
            pages = store.list(prefix=folder or None)
            return sorted(
                item["path"] for page in pages for item in page if item["path"].startswith(prefix)
            )

        return self._call(collect)

    def read(self, name: str) -> bytes:
        """Return the content of an object, and note its version for `replace`."""

        def get(store: "S3Store") -> bytes:
            result = store.get(name)
            self._versions[name] = result.meta["e_tag"]
            return bytes(result.bytes())

        try:
            return self._call(get, name)
        except FileNotFoundError:
            self._versions.pop(name, None)
            raise

    def hash(self, name: str) -> str:
        """Return the SHA-256 of an object, which is read once and not stored."""
        digest = hashlib.sha256()
        for chunk in self._stream(name):
            digest.update(chunk)
        return digest.hexdigest()

    def fetch(self, name: str, folder: Path) -> Path:
        """Return the path of a copy in the folder, downloaded once."""
        path = folder / Path(name).name
        return path if path.exists() else self.copy(name, folder)

    def copy(self, name: str, folder: Path) -> Path:
        """Download an object into the folder."""
        path = folder / Path(name).name
        partial = path.with_name(path.name + PARTIAL_SUFFIX)
        with partial.open("wb") as file:
            for chunk in self._stream(name):
                file.write(chunk)
        return partial.replace(path)

    def _stream(self, name: str) -> Iterator[bytes]:
        result = self._call(lambda store: store.get(name), name)
        chunks = iter(result.stream(min_chunk_size=_CHUNK_BYTES))
        while True:
            chunk = self._call(lambda _: next(chunks, None), name)
            if chunk is None:
                return
            yield bytes(chunk)

    # -- writing ----------------------------------------------------------------------------

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Check that the server heeds conditions, by which writers exclude each other here."""
        self._probe()
        yield

    def create(self, name: str, content: bytes) -> None:
        """Write a new object, unless there is one."""
        self._probe()
        if not self._put_if(name, content, "create"):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), f"{self}/{name}")

    def replace(self, name: str, content: bytes) -> None:
        """Write an object, if it is absent or as this object has read or written it."""
        self._probe()
        version = self._versions.get(name)
        if not self._put_if(name, content, "create" if version is None else {"e_tag": version}):
            raise StorageBusy(
                f"Another process writes backups to {self}: give each store a prefix of its own."
            )

    def name_file(self, stem: str, suffix: str) -> str:
        """Return a name with a random addition, so that no object is ever overwritten."""
        return f"{stem}-{uuid4().hex[:12]}{suffix}"

    def staging_path(self, name: str, local_folder: Path) -> Path:
        """Return a path in the local folder, after an interrupted backup's are removed."""
        create_folder(local_folder)
        remove_partial_files(local_folder)
        return local_folder / (Path(name).name + PARTIAL_SUFFIX)

    def publish(self, source: Path, name: str, sha256: str) -> None:
        """Upload a staged file, and read it back."""
        if hash_file(source) != sha256:
            raise StorageDamaged(f"{source} is not as it was written: check the disk of the store.")
        self._call(
            lambda store: store.put(name, source, mode="overwrite", chunk_size=_PART_BYTES), name
        )
        if self.hash(name) != sha256:
            raise StorageDamaged(
                f"{self}/{name} is not as it was written: check the server and the way to it."
            )
        source.unlink()

    def remove(self, names: Sequence[str]) -> None:
        """Remove objects."""
        if names:
            self._call(lambda store: store.delete(list(names)))
        for name in names:
            self._versions.pop(name, None)

    # -- conditional writes -----------------------------------------------------------------

    def _put_if(self, name: str, content: bytes, mode: Any) -> bool:
        """Write an object under a condition; return whether it has the content now.

        The client repeats a write that got no response. The repetition of one that had succeeded
        fails its condition, so that the content decides. Every content is unique. A rejection
        without an object is a conflict with a removal, which AWS asks to repeat.
        """
        for _ in range(_CONFLICTS):
            version = self._try_put(name, content, mode)
            if version is not None:
                self._versions[name] = version
                return True
            try:
                return self.read(name) == content
            except FileNotFoundError:
                if mode != "create":
                    return False
        raise OSError(errno.EIO, f"{self}: the server rejected to create {name}, which is absent")

    def _try_put(self, name: str, content: bytes, mode: Any) -> str | None:
        """Return the version of what was written, None if the condition failed."""
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        try:
            result = self._call(
                lambda store: store.put(name, content, mode=mode, use_multipart=False), name
            )
        except (AlreadyExistsError, PreconditionError):
            return None
        return result["e_tag"] or ""

    def _probe(self) -> None:
        """Check once that the server rejects a write whose condition is not met.

        Raises:
            Unavailable: it ignores conditions, so that nothing would exclude a second writer.
        """
        if self._is_probed:
            return
        content = b"Spawn writes this object to learn whether the server heeds conditions.\n"
        self._try_put(_PROBE, content, "create")
        conditions: tuple[Any, ...] = ("create", {"e_tag": '"0"'})
        if any(self._try_put(_PROBE, content, mode) is not None for mode in conditions):
            raise Unavailable(
                f"The server of {self} ignores the conditions of writes (If-None-Match, If-Match),"
                " which keep two stores apart: name a server that heeds them (SPAWN_BACKUP_URL)."
            )
        self._is_probed = True

    # -- the client -------------------------------------------------------------------------

    def _call(self, operation: "Callable[[S3Store], T]", name: str = "") -> T:
        """Call the client; its errors quote requests and responses, so their text is replaced.

        Raises:
            AlreadyExistsError, PreconditionError: a condition was not met.
            FileNotFoundError: there is no such object.
            OSError: any other failure.
        """
        from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

        try:
            return operation(self._store())
        except (AlreadyExistsError, PreconditionError):
            raise
        except (BaseError, FileNotFoundError, ValueError) as failure:
            raise self._translate(failure, name) from None

    def _translate(self, failure: Exception, name: str) -> OSError:
        text = str(failure)
        code, status = _CODE.search(text), _STATUS.search(text)
        reason = code[1] if code else status[1] if status else ""
        if isinstance(failure, FileNotFoundError) and reason in {"", "404", "NoSuchKey"}:
            return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), f"{self}/{name}")
        if not reason:
            reason = next((reason for sign, reason in _SIGNS if sign in text), "the client failed")
            reason += f" at {self._endpoint()}" if self._endpoint() else ""
        number = errno.EACCES if reason in _DENIED else errno.EIO
        remedy = _REMEDIES.get(reason)
        return OSError(number, f"{self}: {reason}{f' ({remedy})' if remedy else ''}")

    def _endpoint(self) -> str:
        """Return the address of the server, if one is named, without credentials."""
        url = (
            self._environ.get("AWS_ENDPOINT_URL_S3")
            or self._environ.get("AWS_ENDPOINT_URL")
            or AwsFiles(self._environ).setting("endpoint_url")
        )
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if url else ""

    def _store(self) -> "S3Store":
        if self._opened is None:
            self._opened = self._open()
        return self._opened

    def _open(self) -> "S3Store":
        """Return the client; nothing is sent yet.

        Raises:
            OSError: the credentials or the address are not usable.
        """
        from obstore.store import S3Store

        files = AwsFiles(self._environ)
        region = (
            self._environ.get("AWS_REGION")
            or self._environ.get("AWS_DEFAULT_REGION")
            or files.setting("region")
            or "us-east-1"
        )
        options: dict[str, Any] = {"region": region}
        for name in ("access_key_id", "secret_access_key", "session_token"):
            if self._environ.get(f"AWS_{name.upper()}"):
                options[name] = self._environ[f"AWS_{name.upper()}"]
        if self._endpoint():
            options["endpoint"] = self._endpoint()
        if files.is_used():
            options["credential_provider"] = _CredentialProvider(files)
        elif not files.has_other_source():
            raise OSError(
                errno.EACCES,
                f"{self}: no credentials (set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name"
                " a file of profiles in AWS_SHARED_CREDENTIALS_FILE)",
            )
        return S3Store(
            self._bucket,
            prefix=self._prefix or None,
            client_options=self._client_options(),
            retry_config={
                "max_retries": _RETRIES,
                "retry_timeout": _RETRY_TIMEOUT,
                "backoff": {"init_backoff": _FIRST_DELAY, "max_backoff": _LONGEST_DELAY},
            },
            **options,
        )

    def _client_options(self) -> Any:
        options: dict[str, Any] = {
            "connect_timeout": _CONNECT_TIMEOUT,
            "timeout": _REQUEST_TIMEOUT,
        }
        # Without TLS the content is open to the network. A machine's own server needs none.
        if _is_loopback(self._endpoint()):
            options["allow_http"] = True
        elif self._endpoint().startswith("http:") and not _is_set(self._environ, "AWS_ALLOW_HTTP"):
            raise OSError(
                errno.EINVAL,
                f"{self}: {self._endpoint()} has no TLS (use https, or set AWS_ALLOW_HTTP=true)",
            )
        authorities = self._environ.get("AWS_CA_BUNDLE")
        if authorities:
            options["root_certificate"] = Path(authorities).read_bytes()
        return options


class _CredentialProvider:
    """Keys of the shared files, asked for again after a few minutes."""

    def __init__(self, files: AwsFiles) -> None:
        self._files = files

    def __call__(self) -> Any:
        credentials = self._files.read()
        return {
            "access_key_id": credentials.access_key_id,
            "secret_access_key": credentials.secret_access_key,
            "token": credentials.session_token or None,
            "expires_at": datetime.now(UTC) + _CREDENTIALS_TTL,
        }


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_set(environ: Mapping[str, str], name: str) -> bool:
    return environ.get(name, "").lower() in {"1", "true", "yes"}

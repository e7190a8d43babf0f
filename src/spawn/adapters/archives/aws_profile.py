"""Credentials and settings of AWS's shared files, which the client of object stores does not read.

The client reads the environment itself, tokens of web identities, and the addresses that containers
and machines get their roles from. Names and order are those of AWS's reference of SDKs and tools.
"""

import configparser
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

_ENVIRONMENT_SOURCES: Final = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)


class SharedCredentials(msgspec.Struct, frozen=True):
    """Key of a profile; its text appears in no representation."""

    access_key_id: str
    secret_access_key: str
    session_token: str = ""

    def __repr__(self) -> str:
        return "SharedCredentials(…)"


class AwsFiles:
    """The shared files that the environment names, read anew at each question.

    Keys that are rotated in the file are therefore used without a restart.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.profile = environ.get("AWS_PROFILE") or "default"
        home = Path(environ.get("HOME") or "/nonexistent") / ".aws"
        credentials = environ.get("AWS_SHARED_CREDENTIALS_FILE")
        config = environ.get("AWS_CONFIG_FILE")
        self.credentials_file = Path(credentials) if credentials else home / "credentials"
        self.config_file = Path(config) if config else home / "config"

    def is_used(self) -> bool:
        """Whether the profile has the credentials: no variable names others, and a file has keys.

        Raises:
            OSError: a file that is named cannot be read, or the profile that is named has no keys.
        """
        if "AWS_PROFILE" not in self._environ and any(
            self._environ.get(name) for name in _ENVIRONMENT_SOURCES
        ):
            return False
        if self._find() is not None:
            return True
        for name in ("AWS_PROFILE", "AWS_SHARED_CREDENTIALS_FILE"):
            if self._environ.get(name):
                raise OSError(0, f"{self.credentials_file} has no keys of {self.profile} ({name})")
        return False

    def has_other_source(self) -> bool:
        """Whether the client may find credentials itself: in variables, or from the machine."""
        names = (*_ENVIRONMENT_SOURCES, "AWS_SKIP_SIGNATURE")
        is_machine_asked = self._environ.get("AWS_EC2_METADATA_DISABLED", "").lower() != "true"
        return is_machine_asked or any(self._environ.get(name) for name in names)

    def read(self) -> SharedCredentials:
        """Return the keys of the profile.

        Raises:
            OSError: there are none by now.
        """
        credentials = self._find()
        if credentials is None:
            raise OSError(0, f"{self.credentials_file} has no keys of {self.profile}")
        return credentials

    def _find(self) -> SharedCredentials | None:
        sections = (
            (self.credentials_file, self.profile),
            (self.config_file, self._config_section()),
        )
        for path, section in sections:
            values = _read_section(path, section)
            key, secret = values.get("aws_access_key_id"), values.get("aws_secret_access_key")
            if key and secret:
                return SharedCredentials(key, secret, values.get("aws_session_token", ""))
        return None

    def setting(self, name: str) -> str:
        """Return a setting of the profile, such as `region`; empty without one."""
        return _read_section(self.config_file, self._config_section()).get(name, "")

    def _config_section(self) -> str:
        return "default" if self.profile == "default" else f"profile {self.profile}"


def _read_section(path: Path, section: str) -> Mapping[str, str]:
    parser = configparser.RawConfigParser(default_section="")
    try:
        parser.read_string(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (configparser.Error, UnicodeDecodeError):
        # The text of the error would quote the line, which may be the secret.
        raise OSError(0, f"{path} is not a file of profiles") from None
    return dict(parser[section]) if parser.has_section(section) else {}

"""Parser of commands that suggests the word which was meant, and lists what it accepts."""

import argparse
import difflib
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any, Final, NoReturn

from spawn.domain.text import redact_keys
from spawn.entrypoints.cli.errors import EXIT_USAGE, USAGE_CODE, USAGE_TITLE, format_problem

_INVALID_CHOICE: Final = re.compile(r"invalid choice: '([^']*)' \(choose from (.*)\)")


class CommandParser(argparse.ArgumentParser):
    """Parser of one command; its subcommands have parsers of the same kind."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._commands: argparse._SubParsersAction[Any] | None = None
        self._words: list[str] = []

    def add_subparsers(self, **options: Any) -> "argparse._SubParsersAction[Any]":
        """Add the subcommands, which `list_commands` then lists."""
        self._commands = super().add_subparsers(**options)
        return self._commands

    @property
    def actions(self) -> Sequence[argparse.Action]:
        """Options and positional arguments, without the subcommands."""
        return [action for action in self._actions if action is not self._commands]

    @property
    def commands(self) -> "dict[str, CommandParser]":
        """Parsers of the subcommands by their names."""
        return {} if self._commands is None else dict(self._commands.choices)

    @property
    def summaries(self) -> dict[str, str]:
        """Help of each subcommand in the list of its parent."""
        if self._commands is None:
            return {}
        entries = self._commands._get_subactions()  # noqa: SLF001 - the list has no public name
        return {action.dest: action.help or "" for action in entries}

    def list_commands(self, path: tuple[str, ...] = ()) -> "Iterator[tuple[str, CommandParser]]":
        """Yield this command and every one below it, each with the words that select it."""
        yield " ".join(path), self
        for name, parser in self.commands.items():
            yield from parser.list_commands((*path, name))

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse arguments; an unknown one is reported by the command that it was given to."""
        self._words = sys.argv[1:] if args is None else list(args)
        if self._commands is None:
            self._reject_unknown_option()
        parsed_arguments, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}{self._suggest(unknown[0])}")
        return parsed_arguments, unknown

    def error(self, message: str) -> NoReturn:
        """Print usage and the error, with the word that was probably meant; exit with 2.

        With `--json` the error is a problem instead.
        """
        if match := _INVALID_CHOICE.search(message):
            message += _did_you_mean(match[1], re.findall(r"[\w-]+", match[2]))
        message = redact_keys(message)
        if "--json" in self._words:
            self.exit(EXIT_USAGE, format_problem(USAGE_CODE, USAGE_TITLE, message, EXIT_USAGE))
        super().error(message)

    def _reject_unknown_option(self) -> None:
        """Report an unknown option before its value is taken for an argument of the command."""
        options = [text for one in self.actions for text in one.option_strings]
        for word in self._words:
            if word == "--":
                return
            name = word.partition("=")[0]
            # argparse takes a word with a space for a value, and unique beginnings of options.
            is_option = name.startswith("--") and " " not in word
            if is_option and not any(text.startswith(name) for text in options):
                self.error(f"unrecognized arguments: {name}{self._suggest(name)}")

    def _suggest(self, unknown: str) -> str:
        name = unknown.partition("=")[0]
        if name == "--key":
            return "; it goes before the command: spawn --key FILE COMMAND"
        return _did_you_mean(name, [text for one in self.actions for text in one.option_strings])


def _did_you_mean(word: str, candidates: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, candidates, n=1)
    return f"; did you mean {close[0]}?" if close else ""

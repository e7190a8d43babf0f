"""Write `cli.md`, the reference of the command line, from the parser itself."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "src"))

from spawn.entrypoints.cli.grammar.command_parser import CommandParser  # noqa: E402
from spawn.entrypoints.cli.parser import build_parser  # noqa: E402

PAGE = ROOT / "docs" / "cli.md"
_HEAD = """\
# Command line

Every command of `spawn`, generated from its parser by `make docs`. Commands on data use the running
service at `SPAWN_URL`, else the file of `SPAWN_STORAGE_URL`. [Configuration](configuration.md) has
the settings, which are environment variables. Results go to standard output and everything else to
standard error. A wrong word gets the one that was probably meant. With `--json` the error of a
command is a problem (RFC 9457) on one line of standard error, with `code`, `detail`, `exit_code`
and, for input, `errors`.

Output on a terminal has colours unless `NO_COLOR` is set or `TERM` is `dumb`; `FORCE_COLOR` asks
for them elsewhere. An import and an export show their rate on a terminal, an import its time left.

To complete commands, options and their values with the Tab key, add one of these lines to
`~/.bashrc`, to `~/.zshrc` after `compinit`, or to `~/.config/fish/config.fish`:

```sh
eval "$(spawn completion bash)"
eval "$(spawn completion zsh)"
spawn completion fish | source
```

| exit code | meaning |
|---|---|
| 0 | success |
| 1 | rejected or failed |
| 2 | wrong usage or settings |
| 3 | the service cannot be reached, or its file or address is in use |
| 4 | the store failed while it was served and only a restart helps |
| 130 | interrupted |
"""


def render_page() -> str:
    """Return the page: a section for each command, with its usage, arguments and options."""
    parser = build_parser()
    summaries = {
        " ".join(filter(None, (path, name))): text
        for path, command in parser.list_commands()
        for name, text in command.summaries.items()
    }
    sections = [_HEAD]
    for path, command in parser.list_commands():
        summary = command.description or summaries.get(path, "")
        sections.append("\n".join(_render_command(path, command, summary)) + "\n")
    return "\n".join(sections)


def _render_command(path: str, command: CommandParser, summary: str) -> Iterator[str]:
    yield f"{'##' if ' ' not in path else '###'} {f'spawn {path}'.strip()}"
    text = summary.rstrip(".")
    if path:
        yield f"\n{text[:1].upper()}{text[1:]}."
    words = " ".join(filter(None, ("spawn", path, *map(_render_usage, command.actions))))
    yield f"\n```text\n{words}{' COMMAND ...' if command.commands else ''}\n```"
    rows = [action for action in command.actions if action.dest != "help"]
    if rows:
        yield "\n| argument | meaning |\n|---|---|"
    for action in rows:
        name = ", ".join(action.option_strings) or _get_value(action)
        value = f" {_get_value(action)}" if action.option_strings and action.nargs != 0 else ""
        required = ", required" if action.required and action.option_strings else ""
        meaning = _escape(action.help or _list_choices(action))
        yield f"| `{_escape(name + value)}` | {meaning}{required} |"


def _render_usage(action: argparse.Action) -> str:
    if action.dest == "help":
        return ""
    value = _get_value(action)
    if not action.option_strings:
        repeated = {"?": f"[{value}]", "*": f"[{value} ...]"}
        return repeated.get(str(action.nargs), value)
    option = action.option_strings[0] + ("" if action.nargs == 0 else f" {value}")
    return option if action.required else f"[{option}]"


def _get_value(action: argparse.Action) -> str:
    if action.metavar is not None:
        return str(action.metavar)
    if action.choices:
        return "{" + ",".join(map(str, action.choices)) + "}"
    return action.dest if not action.option_strings else action.dest.upper()


def _list_choices(action: argparse.Action) -> str:
    return f"one of {', '.join(map(str, action.choices))}" if action.choices else "the file"


def _escape(text: str) -> str:
    return text.replace("|", "\\|")


def write_page() -> None:
    """Write the page."""
    PAGE.write_text(render_page())


if __name__ == "__main__":
    write_page()

r"""Completion scripts for bash, zsh and fish, generated from the parser.

A script holds the words of the whole grammar, because starting Python for each key takes longer
than a person waits. `_spawn_words` prints those that fit; none means names of files.
"""

import argparse
from collections.abc import Iterator
from enum import StrEnum
from typing import Final

from spawn.entrypoints.cli.grammar.command_parser import CommandParser

_BASH_WORDS: Final = """\
_spawn_words() {{
  local current="$1" at="" previous="" word
  shift
  for word in "$@"; do
    case "$at $word" in
      {commands}) at="$at $word" ;;
    esac
    previous="$word"
  done
  case "$at $previous" in
{values}
  esac
  case "$at" in
{words}
  esac
}}
"""
_BASH: Final = """\
# eval "$(spawn completion bash)"
{words}
_spawn() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}"
  local words
  words="$(_spawn_words "$current" "${{COMP_WORDS[@]:1:COMP_CWORD-1}}")"
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -o default -F _spawn spawn
"""
_ZSH: Final = """\
#compdef spawn
# eval "$(spawn completion zsh)", after compinit
{words}
_spawn() {{
  local -a found
  found=(${{=$(_spawn_words "${{words[CURRENT]}}" "${{(@)words[2,CURRENT-1]}}")}})
  if (( $#found )); then compadd -- $found; else _files; fi
}}
compdef _spawn spawn
"""
_FISH: Final = """\
# spawn completion fish | source
function __spawn_words
  set -l current (commandline -ct)
  set -l at ''
  set -l previous ''
  for word in (commandline -opc)[2..-1]
    if contains -- "$at $word" {commands}
      set at "$at $word"
    end
    set previous $word
  end
  switch "$at $previous"
{values}
  end
  switch $at
{words}
  end
end
complete -c spawn -n 'test -n "$(__spawn_words)"' -f -a '(__spawn_words)'
complete -c spawn -n 'test -z "$(__spawn_words)"' -F
"""


class Shell(StrEnum):
    """Shells with a completion script."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def build_completion(parser: CommandParser, shell: Shell) -> str:
    """Return the script that a shell evaluates to complete commands, options and their values."""
    commands = [f"' {path}'" for path, _ in parser.list_commands() if path]
    options = list(_list_options(parser))
    if shell is Shell.FISH:
        return _FISH.format(
            commands=" ".join(commands),
            values="\n".join(
                f"    case '{option}'\n      string split ' ' -- '{words}'\n      return"
                if words
                else f"    case '{option}'\n      return"
                for option, words in options
            ),
            words="\n".join(_list_fish_cases(parser)),
        )
    words = _BASH_WORDS.format(
        commands="|".join(commands),
        values="\n".join(f"    '{option}') echo '{words}'; return ;;" for option, words in options),
        words="\n".join(_list_bash_cases(parser)),
    )
    return (_BASH if shell is Shell.BASH else _ZSH).format(words=words)


def _list_options(parser: CommandParser) -> Iterator[tuple[str, str]]:
    """Yield each option that takes a value, after the words of its command, with the values."""
    for path, command in parser.list_commands():
        for action in command.actions:
            if action.nargs != 0:
                for option in action.option_strings:
                    yield f"{_prefix(path)} {option}", _join_choices(action)


def _list_bash_cases(parser: CommandParser) -> Iterator[str]:
    for path, command in parser.list_commands():
        options, words = _list_words(command)
        yield (
            f"    '{_prefix(path)}') case \"$current\" in\n"
            f"      -*) echo '{options}' ;; *) echo '{words}' ;;\n"
            "    esac ;;"
        )


def _list_fish_cases(parser: CommandParser) -> Iterator[str]:
    for path, command in parser.list_commands():
        options, words = _list_words(command)
        other = f"      else\n        string split ' ' -- '{words}'\n" if words else ""
        yield (
            f"    case '{_prefix(path)}'\n"
            "      if string match -q -- '-*' $current\n"
            f"        string split ' ' -- '{options}'\n{other}"
            "      end"
        )


def _list_words(command: CommandParser) -> tuple[str, str]:
    """Return the options of a command, and its subcommands with the choices of its arguments."""
    options = [text for action in command.actions for text in action.option_strings]
    choices = [_join_choices(one) for one in command.actions if not one.option_strings]
    return " ".join(options), " ".join([*command.commands, *filter(None, choices)])


def _join_choices(action: argparse.Action) -> str:
    return " ".join(str(choice) for choice in action.choices or ())


def _prefix(path: str) -> str:
    return f" {path}" if path else ""

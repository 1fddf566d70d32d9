"""`mta completion SHELL`: what a shell needs to complete the words of `mta …`, made from its own parsers, so
that it is never behind them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from twisted_mta.service.commands.parser import Group

_BASH = """\
# {load}
_mta() {{
    local word path="" skip=""
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        if [ -n "$skip" ]; then skip=""; continue; fi
        case "$word" in
            --config|-c) skip=1 ;;
            -*) ;;
            *) case " {paths} " in *" ${{path:+$path/}}$word "*) path="${{path:+$path/}}$word" ;; esac ;;
        esac
    done
    COMPREPLY=()
    case "$path" in
{cases}
    esac
}}
complete -o default -F _mta mta
"""
_ZSH = "autoload -U +X bashcompinit && bashcompinit\n"
_LOAD = {
    "bash": "Load it with: source <(mta completion bash)",
    "zsh": "Load it, after compinit, with: source <(mta completion zsh)",
}
Words = dict[tuple[str, ...], list[str]]


def add_command(parser: argparse.ArgumentParser) -> None:
    """Fill the parser of `mta completion`."""
    parser.add_argument("shell", choices=sorted((*_LOAD, "fish")))
    parser.set_defaults(early=completion)


def completion(options: argparse.Namespace) -> None:
    """`completion SHELL`"""
    words = dict(_words(options.parser, ()))
    print(_fish(words) if options.shell == "fish" else _bash(words, options.shell), end="")


def _words(
    parser: argparse.ArgumentParser, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], list[str]]]:
    """What may follow each command, the options of it at the end."""
    if isinstance(parser, Group):
        parser.fill()
    commands: list[str] = []
    options: list[str] = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            choices: dict[str, Any] = dict(action.choices)
            commands += choices
            for name, below in choices.items():
                yield from _words(below, (*path, name))
        elif action.option_strings:
            options += [text for text in action.option_strings if text.startswith("--")]
        else:
            commands += [str(choice) for choice in action.choices or ()]
    yield path, [*commands, *options]


def _bash(words: Words, shell: str) -> str:
    cases = "\n".join(
        f"        {'/'.join(path) or repr('')}) COMPREPLY=($(compgen -W '{' '.join(following)}' -- "
        '"${COMP_WORDS[COMP_CWORD]}")) ;;'
        for path, following in words.items()
    )
    text = _BASH.format(load=_LOAD[shell], paths=" ".join("/".join(path) for path in words), cases=cases)
    return text if shell == "bash" else _ZSH + text


def _fish(words: Words) -> str:
    lines = ["# Load it with: mta completion fish | source"]
    for path, following in words.items():
        seen = [f"__fish_seen_subcommand_from {word}" for word in path]
        beyond = [word for word in following if not word.startswith("-")]
        none = [f"not __fish_seen_subcommand_from {' '.join(beyond)}"] if beyond else []
        condition = "; and ".join([*seen, *none]) or "true"
        for word in following:
            what = f"-l {word[2:]}" if word.startswith("--") else f"-f -a {word}"
            lines.append(f"complete -c mta -n '{condition}' {what}")
    return "\n".join(lines) + "\n"

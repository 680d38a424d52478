"""What PyYAML says about broken YAML, in words for someone who writes scenarios."""

from __future__ import annotations

import re

import yaml

_PARAM_IN_FLOW = re.compile(r"\$\{[^}]*\}?")


def sentence(error: yaml.MarkedYAMLError, lines: list[str]) -> str:
    """One sentence: what is wrong at the error's position, and what to write instead.

    libyaml and PyYAML's own parser word the same errors differently; both are understood.
    """
    mark = error.problem_mark or error.context_mark
    line = lines[mark.line] if mark and mark.line < len(lines) else ""
    char = line[mark.column] if mark and mark.column < len(line) else ""
    context, problem = error.context or "", error.problem or ""
    opened = error.context_mark.line + 1 if error.context_mark else None
    indent = line[: len(line) - len(line.lstrip())]
    if "\t" in indent:
        return "a tab cannot indent YAML; use spaces"
    if "node content" in problem and char and char in "]},":
        return f"a {char} closes nothing here; if it is text, put it in quotes"
    if "flow" in context or "flow" in problem:
        return _flow(line, opened, context)
    if "cannot start any token" in problem:
        return f"text cannot begin with {char}; put it in quotes"
    if "mapping values are not allowed" in problem:
        return (
            "a second key: cannot stand here; put text that holds ': ' in quotes, "
            "or mend this line's indentation"
        )
    if "quoted scalar" in context:
        if "escape" in problem:
            return "a backslash in double quotes begins an escape; use 'single quotes', where it is itself"
        return f"the quote opened in line {opened} is never closed"
    if "could not find expected ':'" in problem:
        return f"line {opened} is no key: value; write a colon and a space after the key"
    if "block scalar" in context:
        return "after | or > the text begins in the next line"
    if "block mapping" in context and char not in "-":
        return _block(line, mark.column if mark else 0, opened)
    if "block collection" in context or "block sequence" in context or char == "-":
        return f"this line is not in line with the list (- …) begun in line {opened}; mend its indentation"
    if "document start" in problem:
        return "after the text before it nothing may follow here; put quotes around the whole"
    return f"is not YAML: {', '.join(part for part in (context, problem) if part)}"


def _flow(line: str, opened: int | None, context: str) -> str:
    if param := _PARAM_IN_FLOW.search(line):
        return f'inside [ ] and {{ }} a parameter needs quotes: write "{param[0]}"'
    bracket, close = ("{", "}") if "mapping" in context else ("[", "]")
    if "flow node" in context:
        return "a value is missing here, or a [ or { before it is never closed"
    return f"the {bracket} opened in line {opened} lacks a comma or its {close} before this"


def _block(line: str, column: int, opened: int | None) -> str:
    if line[:column].rstrip().endswith(("'", '"')):
        return "text goes on after its closing quote; put 'single quotes' around the whole"
    return f"this line is indented like nothing above it; line its keys up with those begun in line {opened}"

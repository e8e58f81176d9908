"""Find the fenced code blocks of a page, and the comments that say what becomes of them.

A comment directly before a block is invisible to readers:

    <!-- file: NAME -->            the block is the content of this file
    <!-- patch: NAME -->           the lines with - of this file become those with +
    <!-- output of: COMMAND -->    the block is what the command prints
    <!-- tested by: PATH -->       this test module compares the block
    <!-- not run: REASON -->       nothing runs it
"""

import os
import re
from typing import NamedTuple

from markdown_it import MarkdownIt

from support.paths import ROOT

_COMMENT = re.compile(r"<!-- (file|patch|output of|tested by|not run): (.*?) -->", re.DOTALL)


class Block(NamedTuple):
    """A fenced block: its page and line, language, text, and the comment before it."""

    page: str
    line: int
    language: str
    text: str
    directive: str
    argument: str

    def __str__(self):
        return f"{self.page}:{self.line}"


def read(page):
    """Return the text of a page, by its path in the repository."""
    with open(os.path.join(ROOT, page), encoding="utf-8") as file:
        return file.read()


def blocks(page, text=None):
    """Return the fenced blocks of a page, in their order."""
    comments, found = "", []
    for token in MarkdownIt().enable("table").parse(read(page) if text is None else text):
        if token.type == "html_block":
            comments += token.content
        elif token.type == "fence":
            directive, argument = (_COMMENT.findall(comments) or [("", "")])[-1]
            line = token.map[0] + 1
            language = token.info.strip()
            found.append(Block(page, line, language, token.content, directive, argument))
            comments = ""
        else:
            comments = ""
    return found


def commands(block):
    """Return the commands of a console or sh block, each with the output below it."""
    if block.language == "sh":
        lines = block.text.replace("\\\n", " ").splitlines()
        return [(line, None) for line in lines if line.strip() and not line.startswith("#")]
    found = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            found.append([line[2:], ""])
        else:
            found[-1][1] += f"{line}\n"
    return [(command, output) for command, output in found]


def patched(text, patch):
    """Return a file's text with each group of - lines replaced by the + lines after it."""
    for removed, added in re.findall(r"((?:^-.*\n)+)((?:^\+.*\n)*)", patch, re.MULTILINE):
        old, new = (re.sub("^.", "", lines, flags=re.MULTILINE) for lines in (removed, added))
        assert text.count(old) == 1, f"{text.count(old)} times in the file: {old}"
        text = text.replace(old, new)
    return text


def inline_commands(page):
    """Return every `bnguard ...` in the running text of a page."""
    inline = [t for t in MarkdownIt().enable("table").parse(read(page)) if t.type == "inline"]
    code = [child.content for t in inline for child in t.children if child.type == "code_inline"]
    return [text for text in code if re.match(r"bnguard [a-z]+( |$)", text)]

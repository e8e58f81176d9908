"""What the site has beyond docs/: pages of the repository's root, and links to its other files.

mkdocs.yml names it as a hook. Links are written as the repository's own browser needs them.
"""

from __future__ import annotations

from pathlib import Path
import posixpath
import re
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
ROOT_PAGES = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#\s]+)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages of the root."""
    for name, page in ROOT_PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Let each link lead where it leads in the repository."""
    sources = {target: name for name, target in ROOT_PAGES.items()}
    uri = page.file.src_uri
    source = sources.get(uri, f"docs/{uri}")

    def on_the_site(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), link.group(1)))
        if path in ROOT_PAGES or path.startswith("docs/"):
            target = ROOT_PAGES.get(path, path[len("docs/") :])
            return posixpath.relpath(target, posixpath.dirname(uri) or ".")
        return f"{config.repo_url.rstrip('/')}/blob/main/{path}"

    return _LINK.sub(on_the_site, markdown)

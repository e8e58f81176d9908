"""Draw the page that `bnguard run --html` writes about the program of docs/run.md.

It needs TensorFlow, Chromium and Pillow: python tools/page_screenshot.py docs/img/page.png
"""

from __future__ import annotations

import os
from pathlib import Path
import re
import subprocess
import sys
import tempfile

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
_PROGRAM = re.compile(r"<!-- file: train.py -->\n```python\n(.*?)```\n", re.DOTALL)
_CELL = ".timeline tbody tr:nth-child(2) td:nth-child(3)"  # in the row's second step
_POINTED_TO = (
    f"{_CELL} {{ outline: 3px solid var(--note); }} {_CELL} > .detail {{ display: block; }}"
)
_SIZE = "1120,600"
_COLORS = 64  # of the palette, for a small file


def main(target: str) -> None:
    """Write the screenshot, a PNG, to `target`."""
    program = _PROGRAM.search((ROOT / "docs" / "run.md").read_text(encoding="utf-8"))
    assert program is not None
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "train.py").write_text(program.group(1), encoding="utf-8")
        subprocess.run(
            [sys.executable, "-m", "bnguard", "run", "--html=page.html", "train.py"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"},
            stderr=subprocess.DEVNULL,
        )
        page = Path(folder) / "page.html"
        text = page.read_text(encoding="utf-8")
        page.write_text(text.replace("</style>", f"{_POINTED_TO}</style>"), encoding="utf-8")
        subprocess.run(
            [
                *("chromium", "--headless=new", "--no-sandbox", "--disable-gpu"),
                *("--hide-scrollbars", f"--user-data-dir={folder}/profile"),
                *(f"--window-size={_SIZE}", f"--screenshot={os.path.abspath(target)}"),
                page.as_uri(),
            ],
            stderr=subprocess.DEVNULL,
            check=True,
        )
    Image.open(target).quantize(_COLORS).save(target, optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

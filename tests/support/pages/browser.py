"""Open pages in a headless Chromium, and evaluate a function in each."""

from html import escape
import json
import re
import shutil
import subprocess

from support.pages.html_page import read_page

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
_WAITING = "waiting"
_FRAMES = """
const measure = %s;
addEventListener("load", () => {
  const found = [...document.querySelectorAll("iframe")].map((frame) => {
    frame.contentWindow.focus();
    return measure(frame.contentDocument, frame.contentWindow);
  });
  document.querySelector("pre").textContent = JSON.stringify(found);
});
"""


def measured(folder, pages, function, dark=False):
    """What a function of document and window returns for each page; and the console's lines.

    Args:
      folder: where to write a file.
      pages: pairs of the text of a page and the width of its window, in CSS pixels.
      function: in JavaScript; the pages themselves run no script.
      dark: whether the user prefers dark pages.
    """
    frames = "".join(
        f'<iframe width="{width}" height="800" style="border: 0" srcdoc="{escape(text)}"></iframe>'
        for text, width in pages
    )
    path = folder / "frames.html"
    path.write_text(
        f"<!DOCTYPE html><body>{frames}<pre>{_WAITING}</pre><script>{_FRAMES % function}</script>",
        encoding="utf-8",
    )
    process = subprocess.run(
        [
            *(
                BROWSER,
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--enable-logging=stderr",
            ),
            *(f"--user-data-dir={folder / 'profile'}", "--window-size=1400,900"),
            f"--blink-settings=preferredColorScheme={0 if dark else 1}",
            *("--dump-dom", path.as_uri()),
        ],
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=True,
    )
    console = re.findall(r":CONSOLE[:(].*", process.stderr)
    results = [pre.text for pre in read_page(process.stdout).all("pre")][-1]
    return json.loads(results), console

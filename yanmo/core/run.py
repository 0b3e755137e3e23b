"""A run: the directory that stages read from and add to, and the walk through a recipe that fills it.

    runs/NAME/
      recipe.yaml  environment.json        every default written out; command, versions, commit, hardware, seed
      STAGE/   begun.json  …files…  manifest.json
      tokens/CORPUS-TOKENIZER/             shared by the stages that need them

`begun.json` is written before a stage works and `manifest.json` after, both atomically; a stage is finished when its
manifest is there. The fingerprint covers the settings (each part with its class and version), the seed, the hashes of
the files read, and the digests of the inputs. Same fingerprint: skipped. Another: an error that names what changed.
A killed stage finds its own files again and goes on from them.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256 as _sha256
from importlib import metadata
from pathlib import Path
from typing import Any

import yanmo
from yanmo.core import files
from yanmo.core.config import Part, Settings
from yanmo.core.console import Console
from yanmo.core.errors import CorruptError, RequestError, RunError, StorageError, nearest
from yanmo.core.messages import text
from yanmo.core.recipe import Budget, Entry, Recipe
from yanmo.core.stage import Input, Stage

MANIFEST, BEGUN, LOCK, FINISHED = "manifest.json", "begun.json", ".lock", ".finished.json"


@dataclass
class Run:
    """What a stage sees of the run while it works."""

    directory: Path
    seed: int = 0
    console: Console = field(default_factory=Console)
    budget: Budget | None = None
    minutes: float | None = None  # wall clock that this stage should take, where the recipe has a budget
    stage: str = ""
    inputs: dict[str, list[Path]] = field(default_factory=dict)  # role → folders

    def take(self, role: str) -> Path:
        """The folder of the one input in `role`."""
        folders = self.inputs.get(role) or []
        assert len(folders) == 1, f"stage {self.stage} has {len(folders)} inputs in role {role}"
        return folders[0]

    def given(self, role: str) -> Path | None:
        """The folder of the input in `role`, or None where the stage does without."""
        return self.take(role) if self.inputs.get(role) else None

    def seed_for(self, purpose: str) -> int:
        """A 63-bit seed of its own for each purpose, stable across machines: `seed_for("shuffle")`."""
        return int.from_bytes(_sha256(f"{self.seed}/{purpose}".encode()).digest()[:8], "big") >> 1

    def plan(self, folder: Path, decide: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What was measured to decide: read back after a kill, else decided now and written before any work."""
        path = folder / "plan.json"
        if path.is_file():
            return files.read_json(path)
        plan = decide()
        files.write_json(path, plan)
        return plan

    def shared(self, name: str, key: Any, make: Callable[[Path], None]) -> Path:
        """A folder below the run that several stages use (token shards): made once, found again by the digest of `key`."""
        folder = self.directory / name
        fingerprint = files.digest(key)
        manifest = _manifest(folder)
        if manifest and manifest["fingerprint"] == fingerprint and not _missing(folder, manifest):
            return folder
        files.remove(folder)
        started = time.monotonic()
        with files.atomic(folder) as temporary:
            temporary.mkdir()
            make(temporary)
            record = _record(temporary, {p.name: p.name for p in temporary.iterdir()})
            record |= {"stage": name, "kind": "shared", "fingerprint": fingerprint, "settings": key, "inputs": {},
                       "sources": [], "seconds": round(time.monotonic() - started, 3), "yanmo": yanmo.__version__}  # fmt: skip
            files.write_json(temporary / MANIFEST, record)
        return folder


def digest_of(folder: Path) -> str:
    """The digest of a stage's or a model's folder: of the outputs its manifest names, else of every file in it."""
    manifest = _manifest(folder)
    if manifest:
        return manifest["digest"]
    if folder.is_file():
        return files.sha256(folder)
    return files.digest({p.relative_to(folder).as_posix(): files.sha256(p) for p in files.files(folder)})


# ------------------------------------------------------------------------------------------------ walking a recipe


def execute(
    recipe: Recipe,
    directory: str | Path | None = None,
    *,
    until: str | None = None,
    redo: list[str] | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """Runs the stages that are not finished; returns {"run_dir": path, "stages": {name: "ran" | "skipped"}}."""
    console = console or Console()
    directory = Path(directory) if directory else Path("runs") / recipe.name
    known = [entry.name for entry in recipe.stages]
    for name in [*([until] if until else []), *(redo or [])]:
        if name not in known:
            raise RequestError(name, None, text("no stage '{name}' in the recipe", name=name), nearest(name, known))
    links = [inputs_of(index, recipe, directory) for index in range(len(recipe.stages))]  # all wiring checked before work
    sources = {entry.name: [Path(p) for p in entry.stage.files()] for entry in recipe.stages}
    began = time.monotonic()
    report: dict[str, Any] = {"run_dir": str(directory), "stages": {}}
    with locked(directory):
        _check_differences(recipe, links, sources, directory, set(redo or []))
        files.remove_temporaries(directory)
        _write_once(directory / "recipe.yaml", recipe.dump())
        _environment(directory, recipe.seed)
        changed: set[str] = set()
        for index, entry in enumerate(recipe.stages):
            folder = directory / entry.name
            fingerprint, parts = _fingerprint(entry, recipe, links[index], sources[entry.name], directory)
            manifest = _manifest(folder)
            fresh = manifest and manifest["fingerprint"] == fingerprint and not _missing(folder, manifest)
            if fresh and entry.name not in (redo or []):
                report["stages"][entry.name] = "skipped"
            else:
                begun = files.read_json(folder / BEGUN) if (folder / BEGUN).is_file() else {}
                if entry.name in (redo or []) or begun.get("fingerprint") != fingerprint:
                    files.remove(folder)
                minutes = _minutes(recipe, index, (time.monotonic() - began) / 60)
                _work(entry, recipe, directory, links[index], fingerprint, parts, console, minutes)
                changed.add(entry.name)
                report["stages"][entry.name] = "ran"
            if entry.name == until:
                break
    return report


# ------------------------------------------------------------------------------------------------ nothing to do


def unchanged(request: Any, directory: Path) -> dict[str, Any] | None:
    """The report of a run with nothing left to do, or None; reads no part's code, so that it takes a moment.

    `request` is the recipe as plain data; it, the code, every artifact's size, and the size and time of change of every
    source file and of its folder are as `remember` found them."""
    path = directory / FINISHED
    if not path.is_file():
        return None
    found = files.read_json(path)
    if found["request"] != _request(request) or found["folders"] != _times(found["folders"]):
        return None
    for name in found["stages"]:
        manifest = _manifest(directory / name)
        if manifest is None or _missing(directory / name, manifest):
            return None
        for source in manifest["sources"]:
            status = Path(source["path"]).stat() if Path(source["path"]).is_file() else None
            if status is None or (status.st_size, status.st_mtime_ns) != (source["size"], source["mtime_ns"]):
                return None
        for link in manifest["inputs"]:
            target = directory / link["from"] if (directory / link["from"]).exists() else Path(link["from"])
            if not target.exists() or digest_of(target) != link["digest"]:
                return None
    return {"run_dir": str(directory), "stages": dict.fromkeys(found["stages"], "skipped")}


def remember(request: Any, directory: Path, stages: list[str]) -> None:
    """Writes what `unchanged` compares with."""
    sources = [s["path"] for name in stages for s in (_manifest(directory / name) or {}).get("sources", [])]
    folders = dict.fromkeys(str(Path(path).parent) for path in sources)
    files.write_json(directory / FINISHED, {"request": _request(request), "stages": stages, "folders": _times(folders)})


def _request(data: Any) -> str:
    code = Path(yanmo.__file__).parent
    stats = [(p.relative_to(code).as_posix(), p.stat().st_size, p.stat().st_mtime_ns) for p in sorted(code.rglob("*.py"))]
    return files.digest([data, yanmo.__version__, stats])


def _times(folders: Any) -> dict[str, int | None]:
    return {name: Path(name).stat().st_mtime_ns if Path(name).is_dir() else None for name in folders}


def _work(entry: Entry, recipe: Recipe, directory: Path, links: list[Input], fingerprint: str, parts: dict,
          console: Console, minutes: float | None) -> None:  # fmt: skip
    folder = directory / entry.name
    folder.mkdir(parents=True, exist_ok=True)
    files.write_json(folder / BEGUN, {"fingerprint": fingerprint, **parts})
    inputs: dict[str, list[Path]] = {}
    for link in links:
        inputs.setdefault(link.role, []).append(link.path or directory / str(link.stage))
    run = Run(directory, recipe.seed, console, recipe.budget, minutes, entry.name, inputs)
    started = time.monotonic()
    console.log(text("{stage} …", stage=entry.name))
    try:
        outputs = entry.stage.run(run, folder)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            files.remove_temporaries(folder)
            raise StorageError(str(folder), text("room on the disk"), text("the disk is full"),
                               text("free some space and run the same command again: finished work is kept")) from error  # fmt: skip
        raise
    seconds = round(time.monotonic() - started, 3)
    record = {"stage": entry.name, "kind": entry.stage.type, "fingerprint": fingerprint, **parts, "outputs": outputs,
              **_record(folder, outputs), "seconds": seconds, "yanmo": yanmo.__version__}  # fmt: skip
    files.write_json(folder / MANIFEST, record)
    console.log(text("{stage}: done in {seconds} s", stage=entry.name, seconds=f"{seconds:.1f}"))


def inputs_of(index: int, recipe: Recipe, directory: Path) -> list[Input]:
    """What the stage takes, resolved to earlier stages or to paths; a role that nothing gives is an error."""
    entry, earlier = recipe.stages[index], recipe.stages[:index]
    links = []
    for role in entry.stage.takes:
        if role == "models":
            wanted = getattr(entry.stage, "models", None)
            givers = [e for e in earlier if e.stage.gives == "model"]
            for name in wanted or []:
                if name not in {e.name for e in givers} and not Path(name).exists():
                    raise RequestError(f"{entry.name}.models", None, text("no stage '{name}' in the recipe", name=name),
                                       nearest(name, [e.name for e in givers]))  # fmt: skip
                if name not in {e.name for e in givers}:
                    links.append(Input("models", path=Path(name)))
            links += [Input("models", stage=e.name) for e in givers if wanted is None or e.name in wanted]
            continue
        wanted = getattr(entry.stage, role, None)
        givers = [e for e in earlier if e.stage.gives == role]
        if isinstance(wanted, Settings):
            continue  # a part to start from scratch: nothing to take
        if isinstance(wanted, str):
            if wanted in {e.name for e in givers}:
                links.append(Input(role, stage=wanted))
            elif Path(wanted).exists():
                links.append(Input(role, path=Path(wanted)))
            else:
                raise RequestError(f"{entry.name}.{role}", text("an earlier stage or a path"), wanted,
                                   nearest(wanted, [e.name for e in givers]))  # fmt: skip
        elif givers:
            links.append(Input(role, stage=givers[-1].name))
        elif role not in entry.stage.optional:
            raise RequestError(f"{entry.name}.{role}", text("an earlier stage that gives a {role}", role=role), text("none"),
                               text("add one before it, or set '{key}' to a path", key=f"{entry.name}.{role}"))  # fmt: skip
    return links


def _minutes(recipe: Recipe, index: int, elapsed: float) -> float | None:
    """The stage's share of the wall clock that is left, by the weights of it and of the stages after it."""
    if recipe.budget is None:
        return None
    weights = [entry.stage.weight for entry in recipe.stages[index:]]
    return max(recipe.budget.minutes - elapsed, 0.01) * weights[0] / (sum(weights) or 1.0)


# ------------------------------------------------------------------------------------------------ fingerprints


def settings_of(value: Any) -> Any:
    """Settings as the fingerprint sees them: each part with its class and version, execution fields left out."""
    if isinstance(value, Settings):
        out = {name: settings_of(getattr(value, name)) for name in type(value).model_fields}
        if isinstance(value, Part):
            out = {name: v for name, v in out.items() if name not in value.execution}
            out["class"] = f"{type(value).__module__}:{type(value).__qualname__}"
            out["version"] = value.version
        return out
    if isinstance(value, dict):
        return {str(k): settings_of(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [settings_of(v) for v in value]
    return value if isinstance(value, str | int | float | bool | type(None)) else str(value)


def _fingerprint(entry: Entry, recipe: Recipe, links: list[Input], sources: list[Path], directory: Path) -> tuple[str, dict]:
    known = {s["path"]: s for s in (_manifest(directory / entry.name) or {}).get("sources", [])}
    inputs = [{"role": link.role, "from": link.stage or str(link.path),
               "digest": digest_of(link.path or directory / str(link.stage))} for link in links]  # fmt: skip
    parts = {"settings": settings_of(entry.stage), "seed": recipe.seed, "inputs": inputs,
             "sources": [_source(path, known) for path in sources]}  # fmt: skip
    if recipe.budget and entry.stage.weight > 0:
        parts["budget"] = recipe.budget.minutes
    key = {**parts, "sources": [(s["path"], s["sha256"]) for s in parts["sources"]],
           "inputs": [(i["role"], i["digest"]) for i in inputs]}  # fmt: skip
    return files.digest(key), parts


def _source(path: Path, known: dict[str, dict]) -> dict[str, Any]:
    """A file's hash, from the last manifest where size and time of change are the same."""
    status = path.stat()
    old = known.get(str(path))
    if old and old["size"] == status.st_size and old["mtime_ns"] == status.st_mtime_ns:
        return old
    return {"path": str(path), "size": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256": files.sha256(path)}


def _check_differences(recipe: Recipe, links: list[list[Input]], sources: dict[str, list[Path]], directory: Path,
                       redo: set[str]) -> None:  # fmt: skip
    """Before any work: a folder whose own settings or files differ from the recipe's stops the run.

    Inputs that changed because an earlier stage is redone are no difference: what depends on it is redone with it."""
    for entry in recipe.stages:
        folder = directory / entry.name
        old = _manifest(folder) or (files.read_json(folder / BEGUN) if (folder / BEGUN).is_file() else None)
        if old is None or entry.name in redo:
            continue
        now = {"settings": settings_of(entry.stage), "seed": recipe.seed}
        before = {"settings": old.get("settings"), "seed": old.get("seed")}
        if recipe.budget and entry.stage.weight > 0 or "budget" in old:
            now["budget"] = recipe.budget.minutes if recipe.budget else None
            before["budget"] = old.get("budget")
        changes = differences(before, now)
        known = {s["path"]: s for s in old.get("sources", [])}
        for path in sources[entry.name]:
            if str(path) not in known:
                changes.append(text("{path} is new", path=str(path)))
            elif _source(path, known)["sha256"] != known[str(path)]["sha256"]:
                changes.append(text("{path} has changed", path=str(path)))
        for path_name in known:
            if path_name not in {str(p) for p in sources[entry.name]}:
                changes.append(text("{path} is gone", path=path_name))
        if changes:
            shown = "; ".join(str(change) for change in changes[:4]) + ("; …" if len(changes) > 4 else "")
            raise RunError(str(folder), text("the settings it was made with"), shown,
                           text("use --redo {stage} to make it again, or --run-dir DIR for another run", stage=entry.name))  # fmt: skip


def differences(old: Any, new: Any, key: str = "") -> list[Any]:
    """The dotted keys at which two trees of plain data differ, as 'key: old → new'."""
    if isinstance(old, dict) and isinstance(new, dict):
        found = []
        for name in [*new, *(n for n in old if n not in new)]:
            inner = key if name == "settings" and not key else f"{key}.{name}".strip(".")
            found += differences(old.get(name), new.get(name), inner)
        return found
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [d for i, (a, b) in enumerate(zip(old, new)) for d in differences(a, b, f"{key}.{i}")]
    return [] if old == new else [f"{key}: {_short(old)} → {_short(new)}"]


def _short(value: Any) -> str:
    shown = str(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."


# ------------------------------------------------------------------------------------------------ the directory


def _unwritable(directory: Path, error: OSError) -> Exception:
    if error.errno not in (errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR):
        return error
    return RunError(str(directory), text("a folder that can be written"), error.strerror,
                    text("give another one with --run-dir DIR"))  # fmt: skip


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Holds the run's lock (released by the system if the process dies); one process at a time fills a run."""
    directory = Path(directory)
    try:
        if directory.exists() and not directory.is_dir():
            raise RunError(str(directory), text("a run directory"), text("a file"))
        existing = {p.name for p in directory.iterdir()} if directory.is_dir() else set()
        if existing and not {"recipe.yaml", LOCK} & existing:
            raise RunError(str(directory), text("a run directory or an empty one"),
                           text("a folder with other files in it"), text("give another one with --run-dir DIR"))  # fmt: skip
        directory.mkdir(parents=True, exist_ok=True)
        handle = open(directory / LOCK, "a+", encoding="utf-8")
    except OSError as error:
        raise _unwritable(directory, error) from None
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            raise RunError(str(directory), text("a run that nobody is working in"),
                           text("in use by process {pid}", pid=handle.read().strip() or "?"),
                           text("wait for it, or give another one with --run-dir DIR")) from None  # fmt: skip
        handle.seek(0)
        handle.truncate()
        handle.write(str(os.getpid()))
        handle.flush()
        yield


def _manifest(folder: Path) -> dict[str, Any] | None:
    path = folder / MANIFEST
    if not path.is_file():
        return None
    try:
        found = files.read_json(path)
    except ValueError as error:
        raise CorruptError(str(path), text("valid JSON"), str(error), text("remove the folder and run again")) from None
    return found if isinstance(found, dict) and "digest" in found else None


def _record(folder: Path, outputs: dict[str, str]) -> dict[str, Any]:
    """Hashes of every file in the folder, and the digest of those that belong to an output."""
    hashes = {}
    for path in files.files(folder):
        name = path.relative_to(folder).as_posix()
        if name not in (MANIFEST, BEGUN) and not any(p.startswith(files.TEMPORARY) for p in path.parts):
            hashes[name] = {"size": path.stat().st_size, "sha256": files.sha256(path)}
    roots = set(outputs.values())
    for root in roots:
        assert root == "." or any(n == root or n.startswith(root + "/") for n in hashes), f"output {root} has no file"
    owned = {n: h["sha256"] for n, h in hashes.items()
             if any(r == "." or n == r or n.startswith(r + "/") for r in roots)}  # fmt: skip
    return {"digest": files.digest(owned), "files": hashes}


def _missing(folder: Path, manifest: dict[str, Any]) -> bool:
    """Whether a file that the manifest records is gone or of another size (`verify` reads the bytes too)."""
    for name, entry in manifest["files"].items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != entry["size"]:
            return True
    return False


def _write_once(path: Path, content: str) -> None:
    if not path.is_file() or path.read_text(encoding="utf-8") != content:
        files.write_text(path, content)


def _environment(directory: Path, seed: int) -> None:
    """Written when the run is new or the machine, the versions or the command have changed."""
    packages = ("torch", "numpy", "tokenizers", "pyarrow", "safetensors", "scikit-learn", "pydantic")
    versions = {"python": platform.python_version(), "yanmo": yanmo.__version__}
    for package in packages:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    record = {
        "command": shlex.join(["yanmo", *sys.argv[1:]]), "versions": versions, "commit": commit(),
        "hardware": {"system": platform.platform(), "machine": platform.machine(), "processor": processor(),
                     "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
                     "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")},
        "seed": seed,
    }  # fmt: skip
    path = directory / "environment.json"
    old = files.read_json(path) if path.is_file() else {}
    if {**old, "command": None} != {**record, "command": None}:
        files.write_json(path, record)


def commit() -> str | None:
    """The commit of the checkout that this code runs from, or None (an installed wheel)."""
    root = Path(yanmo.__file__).parent.parent / ".git"
    with contextlib.suppress(OSError):
        head = (root / "HEAD").read_text().strip()
        if not head.startswith("ref: "):
            return head
        ref = head.removeprefix("ref: ")
        if (root / ref).is_file():
            return (root / ref).read_text().strip()
        for line in (root / "packed-refs").read_text().splitlines():
            if line.endswith(ref):
                return line.split()[0]
    return None


def processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


# ------------------------------------------------------------------------------------------------ verify


def verify(directory: str | Path) -> dict[str, Any]:
    """Re-hashes every artifact of a run back to the source files: {"ok", "checked", "changed": [{path, what}]}."""
    directory = Path(directory)
    manifests = sorted(directory.glob(f"*/{MANIFEST}")) + sorted(directory.glob(f"tokens/*/{MANIFEST}"))
    if not manifests:
        raise RequestError(str(directory), text("a run directory"), text("no manifest.json in it"))
    checked, changed = 0, []

    def note(path: Any, what: Any) -> None:
        changed.append({"path": str(path), "what": str(what)})

    for path in manifests:
        folder, manifest = path.parent, _manifest(path.parent)
        if manifest is None:
            continue
        for name, entry in manifest["files"].items():
            checked += 1
            if not (folder / name).is_file():
                note(folder / name, text("gone"))
            elif files.sha256(folder / name) != entry["sha256"]:
                note(folder / name, text("changed"))
        for source in manifest["sources"]:
            checked += 1
            if not Path(source["path"]).is_file():
                note(source["path"], text("gone"))
            elif files.sha256(Path(source["path"])) != source["sha256"]:
                note(source["path"], text("changed"))
        for link in manifest["inputs"] or []:
            checked += 1
            target = directory / link["from"] if (directory / link["from"]).exists() else Path(link["from"])
            if not target.exists():
                note(link["from"], text("gone"))
            elif digest_of(target) != link["digest"]:
                note(link["from"], text("not what {stage} was made from", stage=manifest["stage"]))
    return {"ok": not changed, "checked": checked, "changed": changed}


def stage_manifests(directory: Path) -> list[dict[str, Any]]:
    """The manifests of a run's finished stages, in the order of its recipe."""
    import yaml

    recipe = yaml.safe_load((directory / "recipe.yaml").read_text(encoding="utf-8"))
    order = [item.get("name") or next(iter(item)) for item in recipe["stages"]]
    found = [(name, _manifest(directory / name)) for name in order]
    return [manifest for _, manifest in found if manifest]


__all__ = ["Run", "Stage", "digest_of", "execute", "locked", "stage_manifests", "verify"]

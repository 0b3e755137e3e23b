"""The walk through a recipe: what each stage takes, what is finished, what stops the run, and the work itself.

Same fingerprint: skipped. Another: an error that names what changed. A killed stage finds its own files again and goes on
from them. A stage is finished when its manifest is there; it is written last.
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from yanmo.core import files
from yanmo.core.config import Place, Settings
from yanmo.core.console import Console
from yanmo.core.crew import ALONE, Crew, Silence
from yanmo.core.environment import write_environment, write_once
from yanmo.core.errors import RequestError, nearest
from yanmo.core.fingerprint import check_differences, fingerprint_of
from yanmo.core.finished import remember, unchanged
from yanmo.core.manifest import BEGUN, MANIFEST, missing, read_manifest, record
from yanmo.core.messages import text
from yanmo.core.package import VERSION
from yanmo.core.published import how_to_get
from yanmo.core.recipe import Entry, Recipe, parse, read
from yanmo.core.run import Run, locked
from yanmo.core.spent import SPENT, counted
from yanmo.core.stage import Input
from yanmo.core.stopped import terminable


def run_recipe(
    path: str | Path,
    overrides: list[str] | None = None,
    directory: str | Path | None = None,
    *,
    until: str | None = None,
    redo: list[str] | None = None,
    console: Console | None = None,
    crew: Crew = ALONE,
    force: bool = False,
) -> dict[str, Any]:
    """A recipe file, run: `execute` unless a finished run shows at a glance that there is nothing left to do. In a process of a
    crew that is not the first: `follow`, and no report."""
    began = time.monotonic()
    data, place, base = read(path, overrides)
    if not crew.first:
        follow(parse(data, place, base), directory, crew, force)
        return {}
    name = str(data.get("name", path)) if isinstance(data, dict) else str(path)
    try:
        with terminable(name) if crew.size == 1 else nullcontext():  # of several, the launcher is asked
            return _first(data, place, base, directory, until, redo, console, crew, force, began)
    finally:
        crew.dismiss()


def _first(data: Any, place: Place, base: Path, directory: str | Path | None, until: str | None, redo: list[str] | None,
           console: Console | None, crew: Crew, force: bool, began: float) -> dict[str, Any]:  # fmt: skip
    if isinstance(data, dict) and isinstance(data.get("name"), str) and not redo and not until:
        existing = Path(directory) if directory else Path("runs") / data["name"]
        if existing.is_dir():
            with locked(existing):
                report = unchanged(data, existing)
            if report:
                return report
    report = execute(parse(data, place, base), directory, until=until, redo=redo, console=console, crew=crew, force=force,
                     began=began)  # fmt: skip
    if not until:
        remember(data, Path(report["run_dir"]), list(report["stages"]))
    return report


def execute(
    recipe: Recipe,
    directory: str | Path | None = None,
    *,
    until: str | None = None,
    redo: list[str] | None = None,
    console: Console | None = None,
    crew: Crew = ALONE,
    force: bool = False,
    began: float | None = None,
) -> dict[str, Any]:
    """Runs the stages that are not finished; returns {"run_dir": path, "stages": {name: "ran" | "skipped"}}. `force`: a training
    that the doctor would refuse goes on. `began`: the `time.monotonic()` from which on a budget counts, else it is now."""
    began = time.monotonic() if began is None else began
    console = console or Console()
    directory = Path(directory) if directory else Path("runs") / recipe.name
    known = [entry.name for entry in recipe.stages]
    for name in [*([until] if until else []), *(redo or [])]:
        if name not in known:
            raise RequestError(name, None, text("no stage '{name}' in the recipe", name=name), nearest(name, known))
    links = [inputs_of(index, recipe, directory) for index in range(len(recipe.stages))]  # all wiring checked before work
    wanted = recipe.stages[: known.index(until) + 1 if until else None]
    sources = {entry.name: [Path(p) for p in entry.stage.files()] for entry in wanted}
    for entry in wanted:  # unsound data is found now, not after the training before it
        entry.stage.check()
    report: dict[str, Any] = {"run_dir": str(directory), "stages": {}}
    with locked(directory):
        check_differences(recipe, wanted, sources, directory, set(redo or []))
        files.remove_temporaries(directory)
        write_once(directory / "recipe.yaml", recipe.dump())
        write_environment(directory, recipe.seed)
        for index, entry in enumerate(wanted):
            folder = directory / entry.name
            fingerprint, parts = fingerprint_of(entry, recipe, links[index], sources[entry.name], directory)
            manifest = read_manifest(folder)
            fresh = manifest and manifest["fingerprint"] == fingerprint and not missing(folder, manifest)
            if fresh and entry.name not in (redo or []):
                report["stages"][entry.name] = "skipped"
            else:
                begun = files.read_json(folder / BEGUN) if (folder / BEGUN).is_file() else {}
                if entry.name in (redo or []) or begun.get("fingerprint") != fingerprint:
                    clear(folder, entry.stage.keeps)
                minutes = share_of_budget(recipe, index, (time.monotonic() - began) / 60, _text_bytes(recipe, index, directory))
                _work(entry, recipe, directory, links[index], fingerprint, parts, console, minutes, crew, force)
                report["stages"][entry.name] = "ran"
    return report


def clear(folder: Path, keeps: tuple[str, ...]) -> None:
    """Removes what an earlier try left, but for what the stage itself knows how to use again."""
    if not folder.is_dir() or not any((folder / name).exists() for name in keeps):
        files.remove(folder)
        return
    for path in sorted(folder.iterdir(), key=lambda path: path.name != MANIFEST):  # first what says that it is finished
        if path.name not in keeps:
            files.remove(path)


def _work(entry: Entry, recipe: Recipe, directory: Path, links: list[Input], fingerprint: str, parts: dict,
          console: Console, minutes: float | None, crew: Crew, force: bool) -> None:  # fmt: skip
    folder = directory / entry.name
    folder.mkdir(parents=True, exist_ok=True)
    files.write_json(folder / BEGUN, {"fingerprint": fingerprint, **parts})
    run = Run(directory, recipe.seed, console, recipe.budget, minutes, entry.name, _folders(links, directory), crew, force)
    console.log(text("{stage} …", stage=entry.name))
    if entry.stage.together:
        crew.call({"stage": entry.name, "minutes": minutes})
    try:
        with counted(folder) as spent:
            outputs = entry.stage.run(run, folder)
    except OSError as error:
        if error.errno in files.FULL:
            files.remove_temporaries(folder)
            raise files.disk_full(folder) from error
        raise
    except RequestError:  # the stage refused its input: another try may use other settings
        clear(folder, entry.stage.keeps)
        if not any((directory / other.name).exists() for other in recipe.stages):
            files.remove(directory)
        raise
    cost = spent()  # a GPU's is counted by its training
    seconds = cost.pop("seconds")
    files.remove(folder / SPENT)  # before its files are counted
    made = {"stage": entry.name, "kind": entry.stage.type, "fingerprint": fingerprint, **parts, "outputs": outputs,
            **record(folder, outputs), "seconds": seconds, "cost": cost, "yanmo": VERSION}  # fmt: skip
    files.write_json(folder / MANIFEST, made)
    console.log(text("{stage}: done in {seconds} s", stage=entry.name, seconds=f"{seconds:.1f}"))


def follow(recipe: Recipe, directory: str | Path | None, crew: Crew, force: bool = False) -> None:
    """What a process other than the first does: it joins in the stages that it is called to, and writes nothing of its own."""
    directory = Path(directory) if directory else Path("runs") / recipe.name
    names = [entry.name for entry in recipe.stages]
    for order in crew.calls():
        index = names.index(order["stage"])
        inputs = _folders(inputs_of(index, recipe, directory), directory)
        run = Run(directory, recipe.seed, Silence(), recipe.budget, order["minutes"], order["stage"], inputs, crew, force)
        recipe.stages[index].stage.run(run, directory / order["stage"])


def _folders(links: list[Input], directory: Path) -> dict[str, list[Path]]:
    """Role → the folders of what the stage takes."""
    found: dict[str, list[Path]] = {}
    for link in links:
        found.setdefault(link.role, []).append(link.path or directory / str(link.stage))
    return found


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
                                       how_to_get(name) or nearest(name, [e.name for e in givers]))  # fmt: skip
                if name not in {e.name for e in givers}:
                    links.append(Input("models", path=Path(name)))
            links += [Input("models", stage=e.name) for e in givers if wanted is None or e.name in wanted]
            continue
        wanted = getattr(entry.stage, role, None)
        kinds = entry.stage.named.get(role)
        givers = [e for e in earlier if e.stage.gives in (kinds or (role,))]
        if isinstance(wanted, Settings):
            continue  # a part to start from scratch: nothing to take
        if isinstance(wanted, str):
            if wanted in {e.name for e in givers}:
                links.append(Input(role, stage=wanted))
            elif Path(wanted).exists():
                links.append(Input(role, path=Path(wanted)))
            else:
                raise RequestError(f"{entry.name}.{role}", text("an earlier stage or a path"), wanted,
                                   how_to_get(wanted) or nearest(wanted, [e.name for e in givers]))  # fmt: skip
        elif givers and kinds is None:
            links.append(Input(role, stage=givers[-1].name))
        elif role not in entry.stage.optional:
            raise RequestError(f"{entry.name}.{role}", text("an earlier stage that gives a {role}", role=role), text("none"),
                               text("add one before it, or set '{key}' to a path", key=f"{entry.name}.{role}"))  # fmt: skip
    return links


def share_of_budget(recipe: Recipe, index: int, elapsed: float, text_bytes: int = 0) -> float | None:
    """The stage's share of the wall clock that is left, by the weights of it and of the stages after it, once what others of them
    take whatever the budget is set aside (half of what is left at most)."""
    if recipe.budget is None:
        return None
    left = max(recipe.budget.minutes - elapsed, 0.01)
    aside = sum(entry.stage.needs(text_bytes) for entry in recipe.stages[index + 1 :]) / 60
    weights = [entry.stage.weight for entry in recipe.stages[index:]]
    return (left - min(aside, left / 2)) * weights[0] / (sum(weights) or 1.0)


def _text_bytes(recipe: Recipe, index: int, directory: Path) -> int:
    """The training text of the last corpus before a stage, as its stats.json counts it; 0 where there is none."""
    for entry in reversed(recipe.stages[:index]):
        place = directory / entry.name / "stats.json"
        if entry.stage.gives == "corpus" and place.is_file():
            return int(files.read_json(place)["splits"].get("train", {}).get("bytes", 0))
    return 0

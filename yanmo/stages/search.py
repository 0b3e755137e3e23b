"""Search for settings of a recipe: trials of one training stage, chosen by Optuna from what earlier ones showed.

    RUN/search.json       what is searched, and every trial: settings, state, value, validations
        shared/           the stages before the first that a trial changes, made once
        trials/N/         a run of its own, linked to what is shared; trial.json says its settings

A trial is `yanmo run … --until STAGE` in a process of its own. It is judged by the stage's validation figures alone, never by
test data, and stopped where these are worse than the median of the earlier trials at the same point. Killed, the same command
goes on: finished trials are read back, and the one that was broken off is gone on with, from its checkpoint.

The best of many trials is the best on the validation data, and so looks better there than it is: the test data, which no trial
has seen, says how good it is.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from yanmo.core import files
from yanmo.core.console import Console
from yanmo.core.errors import RequestError, RunError, WorkError, nearest
from yanmo.core.extras import needed
from yanmo.core.messages import text
from yanmo.core.recipe import Recipe, load
from yanmo.core.run import LOCK

RANGE = re.compile(r"\s*([^.\s]\S*?)\s*\.\.\s*(\S+)\s*")
POLL = 0.3  # seconds between two looks at a trial's validations
ALIKE = 5  # first trials that are drawn at random, and that nothing is compared with
STATE = "search.json"


@dataclass(frozen=True)
class Space:
    """The values that a setting may take: `low` to `high` (`log`: by factors), or one of `choices`."""

    key: str
    low: float | int | None = None
    high: float | int | None = None
    log: bool = False
    choices: tuple[Any, ...] = ()

    @classmethod
    def parse(cls, written: str) -> Space:
        """`stage.key=low..high` (whole numbers where both are; by factors where they are ten apart), `stage.key=a,b,c`."""
        key, equals, value = written.partition("=")
        expected = text("'stage.key=low..high' or 'stage.key=a,b,c'")
        if not equals or "." not in key.strip(". "):
            raise RequestError("--set", expected, written)
        found = RANGE.fullmatch(value)
        if found:
            low, high = (yaml.safe_load(end) for end in found.groups())
            # 1e-4 is text to YAML
            low, high = (float(end) if isinstance(end, str) and _number(end) else end for end in (low, high))
            if any(isinstance(end, bool) or not isinstance(end, int | float) for end in (low, high)) or not low < high:
                raise RequestError("--set", expected, written)
            return cls(key.strip(), low, high, low > 0 and high / low >= 10)
        choices = tuple(yaml.safe_load(f"[{value}]"))
        if len(choices) < 2:
            raise RequestError("--set", expected, written)
        return cls(key.strip(), choices=choices)

    def distribution(self) -> Any:
        optuna = needed("optuna", "search", "yanmo search")
        if self.choices:
            return optuna.distributions.CategoricalDistribution([json.dumps(choice) for choice in self.choices])
        kind = optuna.distributions.IntDistribution if self.whole else optuna.distributions.FloatDistribution
        return kind(self.low, self.high, log=self.log)

    @property
    def whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    def setting(self, value: Any) -> Any:
        """A value as the recipe has it: of the distribution's, rounded to four digits."""
        if self.choices:
            return json.loads(value)
        return int(value) if self.whole else float(f"{value:.4g}")


def _number(written: str) -> bool:
    try:
        float(written)
    except ValueError:
        return False
    return True


@dataclass
class Search:
    """A search in its folder."""

    recipe_path: str
    overrides: list[str]
    recipe: Recipe
    spaces: list[Space]
    stage: str
    folder: Path
    seed: int
    console: Console

    # ------------------------------------------------------------------------------------------------ what is known

    @property
    def goal(self) -> tuple[str, bool]:
        """The validation figure that decides, and whether more of it is better."""
        task = getattr(self._stage(self.stage), "task", None)
        return (task.metric, task.higher_is_better) if task is not None else ("", False)

    def _stage(self, name: str) -> Any:
        return next(entry.stage for entry in self.recipe.stages if entry.name == name)

    def asked(self) -> dict[str, Any]:
        """What the search follows from, beside the machine's speed."""
        return {"recipe": self.recipe.dump(), "spaces": [f"{s.key}={s.choices or (s.low, s.high)}" for s in self.spaces],
                "stage": self.stage, "seed": self.seed}  # fmt: skip

    def trials(self) -> list[dict[str, Any]]:
        """The finished trials, oldest first; RunError where the folder holds another search."""
        if not (self.folder / STATE).is_file():
            return []
        known = files.read_json(self.folder / STATE)
        if known["asked"] != self.asked():
            raise RunError(str(self.folder), text("a search of the same settings"), text("another one"),
                           text("name another folder with '--run-dir'"))  # fmt: skip
        return known["trials"]

    # ------------------------------------------------------------------------------------------------ the work

    def run(self, count: int) -> dict[str, Any]:
        """Makes trials until there are `count`; what search.json says."""
        optuna = needed("optuna", "search", "yanmo search")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        done = self.trials()
        self._save(done)
        self._share()
        while len(done) < count:
            number = len(done)
            place = self.folder / "trials" / str(number)
            study = self._study(optuna, done)
            settings = self._settings(study, place)
            done.append(self._trial(optuna, study, number, settings, place))
            self._save(done)
            self.console.log(text("trial {number}: {settings}: {result}", number=number, settings=_said(settings),
                                  result=_result(done[-1])))  # fmt: skip
        found = self._save(done)
        if found["best"] is None:
            raise WorkError("yanmo search", text("a trial that ends"), done[0].get("error") or done[0]["state"])
        return found

    def _study(self, optuna: Any, done: Iterable[dict[str, Any]]) -> Any:
        """What the finished trials show. Its sampler depends on the seed and their number alone, so that a search that was
        killed goes on as it would have."""
        _, more = self.goal
        known = list(done)
        sampler = optuna.samplers.TPESampler(seed=self.seed * 100_003 + len(known), n_startup_trials=ALIKE)
        pruner = optuna.pruners.MedianPruner(n_startup_trials=ALIKE)
        study = optuna.create_study(direction="maximize" if more else "minimize", sampler=sampler, pruner=pruner)
        shapes = {space.key: space.distribution() for space in self.spaces}
        states = {"complete": optuna.trial.TrialState.COMPLETE, "pruned": optuna.trial.TrialState.PRUNED}
        for trial in known:
            if trial["state"] in states:
                values = {int(step): value for step, value in trial["validations"].items()}
                frozen = optuna.trial.create_trial(state=states[trial["state"]], params=trial["drawn"], value=trial["value"],
                                                   distributions=shapes, intermediate_values=values)  # fmt: skip
                study.add_trial(frozen)
        return study

    def _settings(self, study: Any, place: Path) -> dict[str, Any]:
        """The next trial's settings: those that were begun with, or what the sampler asks for."""
        drawn = files.read_json(place / "trial.json") if (place / "trial.json").is_file() else None
        trial = study.ask({space.key: space.distribution() for space in self.spaces})
        if drawn is None:
            drawn = dict(trial.params)
            files.write_json(place / "trial.json", drawn)
        self._drawn, self._asked = drawn, trial
        return {space.key: space.setting(drawn[space.key]) for space in self.spaces}

    def _share(self) -> None:
        """The stages before the first that a trial changes, made once."""
        names = [entry.name for entry in self.recipe.stages]
        first = min(names.index(space.key.split(".")[0]) for space in self.spaces)
        if first:
            done = self._process(self.folder / "shared", [], until=names[first - 1])
            if done.wait() != 0:
                wanted = text("the stages before '{stage}'", stage=names[first])
                raise WorkError("yanmo search", wanted, _told(self.folder / "shared"))

    def _process(self, place: Path, changes: list[str], until: str) -> subprocess.Popen[bytes]:
        place.parent.mkdir(parents=True, exist_ok=True)
        words = [sys.executable, "-m", "yanmo", "run", self.recipe_path, *self.overrides, *changes,
                 "--run-dir", str(place / "run"), "--until", until, "--quiet"]  # fmt: skip
        place.mkdir(parents=True, exist_ok=True)
        with open(place / "log.txt", "ab") as log:
            return subprocess.Popen(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def _trial(self, optuna: Any, study: Any, number: int, settings: dict[str, Any], place: Path) -> dict[str, Any]:
        link(self.folder / "shared" / "run", place / "run")
        changes = [f"{key}={json.dumps(value)}" for key, value in settings.items()]
        started = time.monotonic()
        seen: dict[int, float] = {}
        pruned = False
        process = self._process(place, changes, self.stage)
        try:
            while True:
                ended = process.poll() is not None
                for step, value in self._validations(place).items():
                    if step not in seen:
                        seen[step] = value
                        self._asked.report(value, step)
                        pruned = pruned or self._asked.should_prune()
                if ended:
                    break
                if pruned:
                    process.send_signal(signal.SIGTERM)
                    process.wait()
                    break
                time.sleep(POLL)
        except BaseException:
            process.send_signal(signal.SIGTERM)  # it saves what it has; the next search goes on with it
            process.wait()
            raise
        trial: dict[str, Any] = {"number": number, "settings": settings, "drawn": self._drawn, "state": "complete", "value": None,
                                 "validations": seen, "seconds": round(time.monotonic() - started, 1)}  # fmt: skip
        more = self.goal[1]
        if seen:
            trial["value"] = max(seen.values()) if more else min(seen.values())
        if pruned:
            trial["state"] = "pruned"
            files.remove(place / "run")
        elif process.returncode != 0 or not (place / "run" / self.stage / "manifest.json").is_file():
            if process.returncode in (0, 130) or process.returncode < 0:  # stopped from outside, together with us
                raise KeyboardInterrupt
            trial |= {"state": "failed", "value": None, "error": _told(place)}
        elif not seen:
            raise RequestError(self.stage, text("a stage that trains, with validation data"), text("no validation figures"))
        return trial

    def _validations(self, place: Path) -> dict[int, float]:
        """Step → the figure that decides, of the trial so far; figures that are not finite are the worst of all."""
        path = place / "run" / self.stage / "metrics.jsonl"
        found: dict[int, float] = {}
        if not path.is_file():
            return found
        name, more = self.goal
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue  # half a line
            figures = entry.get("validation")
            if figures:
                value = figures.get(name) if name else next(iter(figures.values()))
                finite = isinstance(value, int | float) and abs(value) < float("inf")
                found[int(entry["step"])] = float(value) if finite else (-1e9 if more else 1e9)
        return found

    def _save(self, done: list[dict[str, Any]]) -> dict[str, Any]:
        name, more = self.goal
        ended = [trial for trial in done if trial["state"] == "complete"]
        best = None if not ended else (max if more else min)(ended, key=lambda trial: trial["value"])
        found = {"asked": self.asked(), "metric": name or "validation", "higher_is_better": more,
                 "best": None if best is None else best["number"], "trials": done}  # fmt: skip
        files.write_json(self.folder / STATE, found)
        return found


def search(path: str, sets: list[str], trials: int, overrides: list[str] | None = None, stage: str | None = None,
           run_dir: str | None = None, seed: int = 0, console: Console | None = None) -> dict[str, Any]:  # fmt: skip
    """The search's record, and `command`: what runs the best. `stage`: whose validation decides; None: the last of `sets`."""
    needed("optuna", "search", "yanmo search")
    recipe = load(path, overrides)
    spaces = [Space.parse(written) for written in sets]
    names = [entry.name for entry in recipe.stages]
    for name in [*(space.key.split(".")[0] for space in spaces), *([stage] if stage else [])]:
        if name not in names:
            raise RequestError("--set", None, text("no stage '{name}' in the recipe", name=name), nearest(name, names))
    if not spaces or trials < 1:
        raise RequestError("yanmo search", text("at least one setting and one trial"), f"{len(spaces)}, {trials}")
    judged = stage or max((space.key.split(".")[0] for space in spaces), key=names.index)
    for space in spaces:  # a value of each is tried on the recipe before anything runs
        value = space.choices[0] if space.choices else space.setting(space.low)
        load(path, [*(overrides or []), f"{space.key}={json.dumps(value)}"])
    folder = Path(run_dir) if run_dir else Path("runs") / f"{recipe.name}-search"
    work = Search(path, overrides or [], recipe, spaces, judged, folder, seed, console or Console())
    found = work.run(trials)
    best = next(trial for trial in found["trials"] if trial["number"] == found["best"])
    words = " ".join([path, *(overrides or []), *(f"{key}={json.dumps(value)}" for key, value in best["settings"].items())])
    return {**found, "run_dir": str(folder), "command": f"yanmo run {words}"}


def table(found: dict[str, Any]) -> list[list[str]]:
    """The trials, the best first: a line each, a head above."""
    keys = list(found["trials"][0]["settings"])
    sign = -1 if found["higher_is_better"] else 1
    order = {"complete": 0, "pruned": 1, "failed": 2}
    rows = sorted(found["trials"], key=lambda t: (order[t["state"]], sign * (t["value"] or 0.0), t["number"]))
    return [["trial", found["metric"], "state", "steps", "seconds", *keys],
            *([str(t["number"]), "-" if t["value"] is None else f"{t['value']:.4f}", t["state"],
               str(max(map(int, t["validations"]), default=0)), f"{t['seconds']:.0f}",
               *(str(t["settings"][key]) for key in keys)] for t in rows)]  # fmt: skip


def link(source: Path, target: Path) -> None:
    """Everything finished below `source` in `target` too, without a second copy; what is there stays."""
    if not source.is_dir() or target.is_dir():
        return
    for file in files.files(source):
        name = file.relative_to(source)
        if len(name.parts) < 2:
            continue  # the recipe, the lock, the environment: each run's own
        place = target / name
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(file, place)
        except OSError:
            shutil.copyfile(file, place)
    if target.is_dir():
        (target / LOCK).touch()  # by which a folder is known as a run's


def _told(place: Path) -> str:
    lines = (place / "log.txt").read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "-"


def _said(settings: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in settings.items())


def _result(trial: dict[str, Any]) -> str:
    value = "-" if trial["value"] is None else f"{trial['value']:.4f}"
    return f"{value} ({trial['state']})" if trial["state"] != "complete" else value

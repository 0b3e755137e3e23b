"""Where a training run ends, and how a budget of time or energy makes it end there with a finished schedule.

With steps, tokens or epochs the end is a number and nothing moves it. With minutes or joules the plan turns the budget into
steps by measuring; if the machine then is slower or hungrier than it was, the end is brought forward, and what was left of
the schedule is passed through faster, so that the learning rate still falls as far as it should:

    rate |  ____________                     planned    steps 0 …………………… N
         |              \\__                             u(s) = s
         |  ___________    \\__
         |             \\_    \\__            brought     at step s the end becomes n < N:
         |_______________\\______\\__          forward     u(s + i) = u(s) + i (N - u(s)) / (n - s)
           0        s    n      N

It may be moved back again when the disturbance is over, never beyond the plan. Each decision is written to horizon.json
before the next step is made, and a run that goes on after a kill follows what stands there instead of its clock: plan.json
and horizon.json together repeat the run bit for bit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from yanmo.core import files
from yanmo.core.messages import Text, text

NAME = "horizon.json"
WINDOW = 20  # steps whose median is what a step costs now
FEW = 5  # of them: where the last so many all cost more, it has become more
SLACK = 0.01  # of the budget: a forecast within it moves nothing
DOUBT = 0.05  # of what is still to be spent, in addition: so much may a forecast be wrong by
GREAT = 0.1  # of the budget: a forecast so far beyond it does not wait for its turn
EASED = 0.05  # of the steps: by so much the end must be able to move back before it is moved back
WORTH = 0.1  # of the steps: by so much the end has to move for a line to be said
DECISIONS = 50  # at most about so many, but for the last steps: a decision is a file that is written and flushed


class Horizon:
    """The end of a run: a number of steps that nothing moves."""

    def __init__(self, steps: int):
        self.planned = self.steps = steps

    def factor(self, schedule: Any, step: int) -> float:
        """The schedule's factor for the step after `step` finished ones."""
        return float(schedule.factor(step, self.planned))

    def follow(self, step: int) -> None:
        """Takes over what was decided at steps up to this one, by a try before this one too."""

    def look(self, step: int, spent: dict[str, float]) -> bool:
        """Called after each step with what the run has spent so far ('seconds', 'joules'); whether the end has moved."""
        return False


class Budget(Horizon):
    """The end of a run that may spend `limit` of `unit` ('seconds' or 'joules') in the loop.

    `step_cost` is what the plan expects a step to cost, `reserve` what has to be left for the last validation and the saving,
    both in `unit`. `say` is told of each decision. `agree` makes one figure of those of several processes, so that all decide
    alike.
    """

    def __init__(self, steps: int, unit: str, limit: float, step_cost: float, reserve: float, folder: Path,
                 say: Callable[[Text], None] | None = None, agree: Callable[[float], float] = float):  # fmt: skip
        super().__init__(steps)
        self.unit, self.limit, self.step_cost, self.reserve, self.agree = unit, limit, step_cost, reserve, agree
        self.path, self.say = folder / NAME, say
        self.decisions: dict[int, int] = {}  # at which step → how many in all
        if self.path.is_file():
            self.decisions = {item["step"]: item["steps"] for item in files.read_json(self.path)["decisions"]}
        self._bends = [(0, 0.0)]  # (step, its place in the planned schedule) from which on it is passed through evenly
        self._recent: deque[float] = deque(maxlen=WINDOW)
        self._excess = self._seen = 0.0
        self._told = steps
        self._before: tuple[int, float] | None = None
        self._followed = -1

    def place(self, step: int) -> float:
        """Where in the planned schedule a step stands, 0 to `planned`; a whole number until the end has been moved."""
        begun, place = self._bends[-1]
        if len(self._bends) == 1:
            return step
        return place + (step - begun) * (self.planned - place) / max(1, self.steps - begun)

    def follow(self, step: int) -> None:
        for at, steps in sorted(self.decisions.items()):
            if self._followed < at <= step:
                self._bends.append((at, self.place(at)))
                self.steps, self._followed = steps, at

    def factor(self, schedule: Any, step: int) -> float:
        self.follow(step)
        return float(schedule.factor(self.place(step), self.planned))

    def look(self, step: int, spent: dict[str, float]) -> bool:
        self.follow(step)
        now, before = self.agree(spent[self.unit]), self._before
        self._before = (step, now)
        if before is not None and step > before[0]:
            cost = (now - before[1]) / (step - before[0])
            self._recent.append(cost)
            self._seen += step - before[0]
            self._excess += (cost - median(self._recent)) * (step - before[0])  # validations, checkpoints, stalls
        if step >= self.steps or step in self.decisions or max(self.decisions, default=-1) > step:
            return False  # decided already, by a try before this one
        wanted = self._wanted(step, now)
        if wanted == self.steps:
            return False
        self._decide(step, wanted)
        return True

    def _wanted(self, step: int, now: float) -> int:
        """How many steps in all fit into what is left; the present end where the difference is not worth a decision."""
        recent = list(self._recent)
        if len(recent) < max(1, min(FEW, self.planned // WINDOW)):
            return self.steps  # a try that has just begun knows nothing yet
        usual = max(median(recent), min(recent[-FEW:]))
        each = usual + max(0.0, self._excess / self._seen if self._seen else 0.0)
        left = self.limit - now - self.reserve * max(1.0, usual / self.step_cost)
        if each <= 0:
            return self.steps
        fitting = step + int(max(left, SLACK * self.limit) / each)  # a little remains to bring the rate down in
        if fitting < self.steps:
            over = (self.steps - fitting) * each
            soon = self._recently(step) and over < GREAT * self.limit
            small = over < SLACK * self.limit + DOUBT * (self.steps - step) * each
            return self.steps if left > 0 and (soon or small) else max(step, fitting)
        if self.steps < self.planned and not self._recently(step) and fitting - self.steps > EASED * self.planned:
            return min(self.planned, fitting)
        return self.steps

    def _recently(self, step: int) -> bool:
        return bool(self.decisions) and step - max(self.decisions) < self.planned / DECISIONS

    def _decide(self, step: int, steps: int) -> None:
        self.decisions[step] = steps
        told = [{"step": at, "steps": count} for at, count in sorted(self.decisions.items())]
        files.write_json(self.path, {"planned": self.planned, "decisions": told})
        if self.say is not None and abs(steps - self._told) >= WORTH * self.planned:
            self._told = steps
            self.say(text("the budget: after step {step}, {steps} steps in all instead of the {planned} that were planned",
                          step=step, steps=steps, planned=self.planned))  # fmt: skip
        self.follow(step)


def of(plan: dict[str, Any], folder: Path, say: Callable[[Text], None] | None = None,
       agree: Callable[[float], float] = float) -> Horizon:  # fmt: skip
    """As the plan has it: with a budget where it holds one."""
    limits = plan.get("horizon")
    return Budget(plan["steps"], **limits, folder=folder, say=say, agree=agree) if limits else Horizon(plan["steps"])

"""How it was made: tokenizers, plans, the machine, the recipe, and the digests that tie it together."""

from __future__ import annotations

from typing import Any

from yanmo.evaluate.numbers import compact, count, duration, energy, figure, say, size
from yanmo.evaluate.page import Markup, join, more, table, tag
from yanmo.evaluate.record import Record

SHORT = 12  # characters of a digest that are shown


def training(record: Record) -> Markup | None:
    """What was decided for each trained model, and what came of it."""
    rows, plans = [], []
    for item in record.trainings:
        if item.steps:
            last = item.steps[-1]
            speed = last.get("tokens", 0) / item.seconds if item.seconds else None
            cost = record.costs.get(item.name, {})
            share = cost.get("mfu") or cost.get("matrix_share")
            rows.append([item.name, record.objective(item.name), count(last["step"]), compact(last.get("tokens")),
                         duration(item.seconds), compact(speed), f"{share:.0%}" if share else "–", energy(cost.get("joules")),
                         figure(last["loss"])])  # fmt: skip
        if item.plan and item.steps:
            plans.append(more(say("The plan of {model}", model=item.name), _tree(item.plan)))
    if not rows and not plans:
        return None
    head = [say("model"), say("objective"), say("steps"), say("tokens"), say("time in the loop"), say("tokens per second"),
            say("of what the machine can"), say("energy"), say("last loss (nats per token)")]  # fmt: skip
    note = say("What a plan holds was decided once, partly by measuring this machine, and written down before the first step.")
    shares = say("Of what the machine can: the model's operations against the published peak of the GPU (MFU) where it is known, "
                 "else against the rate measured for the model's own matrix products.")  # fmt: skip
    several = len({row[1] for row in rows}) > 1
    losses = say("Losses of different objectives are of different things, and do not compare.") if several else None
    return join([table(head, rows, numbers=range(2, 9)) if rows else None, tag("p", losses, cls="note") if losses else None,
                 tag("p", shares, cls="note") if any(item.name in record.costs for item in record.trainings) else None,
                 tag("p", note, cls="note") if plans else None, plans])  # fmt: skip


def tokenizers(record: Record) -> Markup | None:
    """How many bytes a token stands for, by tokenizer and kind of text, from the held-out text."""
    found: dict[str, dict[str, Any]] = {}
    for manifest in record.manifests:
        for link in manifest.get("inputs") or []:
            if link["role"] == "tokenizer":
                found.setdefault(link["from"], {})["model"] = manifest["stage"]
    task = next((name for name, about in record.tables["tasks"].items() if about["type"] == "language_modeling"), None)
    rows = []
    for name, entry in found.items():
        model = entry["model"]
        totals = record.tables["tasks"][task]["models"].get(model) if task else None
        if not totals:
            continue
        groups = {g: _ratio(record, task, model, g) for g in record.groups(task) if g.startswith("language=")} if task else {}
        vocabulary = (record.tables["models"].get(model) or {}).get("vocabulary")
        whole = totals["bytes"] / max(totals["tokens"], 1)
        rows.append([name, count(vocabulary), f"{whole:.2f}", *[f"{value:.2f}" for value in groups.values()]])
        heads = [say("bytes a token: {language}", language=g.partition("=")[2]) for g in groups]
    if not rows:
        return None
    return table([say("tokenizer"), say("tokens"), say("bytes a token"), *heads], rows, numbers=range(1, 3 + len(heads)))


def _ratio(record: Record, task: str, model: str, group: str) -> float:
    key, _, value = group.partition("=")
    chosen = [a for a in record.answers(model, task) if a.get(key) == value]
    return sum(a["bytes"] for a in chosen) / max(sum(a["tokens"] for a in chosen), 1)


def environment(record: Record) -> Markup | None:
    found = record.environment
    if not found:
        return None
    hardware, versions = found.get("hardware", {}), found.get("versions", {})
    rows: list[list[Any]] = [
        [say("command"), tag("code", found.get("command", ""))],
        [say("seed"), found.get("seed")],
        [say("machine"), f"{hardware.get('processor') or hardware.get('machine')} · {hardware.get('cores')} {say('cores')} · "
                         f"{size(hardware.get('memory_bytes'))}"],
        [say("system"), hardware.get("system")],
        [say("versions"), ", ".join(f"{name} {version}" for name, version in versions.items())],
        [say("commit"), found.get("commit") or "–"],
    ]  # fmt: skip
    return table(["", ""], rows, cls="plain")


def lineage(record: Record) -> Markup | None:
    """Each stage, what it took and the digest of what it left."""
    if not record.manifests:
        return None
    rows = []
    for manifest in record.manifests:
        takes = [str(link["from"]) for link in manifest.get("inputs") or []]
        files = len(manifest.get("sources") or [])
        if files:
            takes.append(say("{count} files", count=files))
        digest = tag("span", manifest["digest"][:SHORT], cls="hash", title=manifest["digest"])
        rows.append([manifest["stage"], manifest["kind"], ", ".join(takes) or "–", duration(manifest["seconds"]), digest])
    note = say("A digest is the hash of every byte that the stage left; a stage's inputs are named by theirs. `yanmo verify` "
               "hashes everything again, back to the source files.")  # fmt: skip
    head = [say("stage"), say("kind"), say("takes"), say("time"), say("digest")]
    recipe = more(say("The recipe, every default written out"), tag("pre", record.recipe_text))
    return join([table(head, rows, numbers=[3]), tag("p", note, cls="note"), recipe])


def _tree(value: Any) -> Markup:
    import yaml

    return tag("pre", yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=110))

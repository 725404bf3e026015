"""DeepSpeed's own choice of hosts and slots, from its source.

`ORCH_DEEPSPEED` names the folder that has its package `deepspeed`: where it is installed, or an unpacked
sdist. Importing it would need torch and take seconds, so only these functions are read.
"""

from __future__ import annotations

import ast
import collections
import os
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

_NEEDED = {
    "_stable_remove_duplicates", "parse_node_config", "parse_node_config_list", "parse_resource_filter",
    "parse_inclusion_exclusion",
}  # fmt: skip


@cache
def parse_inclusion_exclusion() -> Callable[[dict[str, int], str, str], dict[str, list[int]]]:
    """Return DeepSpeed's function; the test is skipped if there is no DeepSpeed."""
    folder = os.environ.get("ORCH_DEEPSPEED")
    if folder is None:
        pytest.skip("needs ORCH_DEEPSPEED, a folder with the package deepspeed")
    source = (Path(folder) / "deepspeed/launcher/runner.py").read_text(encoding="utf-8")
    tree = ast.parse(source)
    tree.body = [
        each for each in tree.body if isinstance(each, ast.FunctionDef) and each.name in _NEEDED
    ]
    quiet = SimpleNamespace(info=lambda text: None)
    names: dict[str, Any] = {
        "collections": collections, "defaultdict": collections.defaultdict, "deepcopy": deepcopy,
        "logger": quiet, "Dict": dict, "List": list, "Tuple": tuple,
    }  # fmt: skip
    exec(compile(tree, "runner.py", "exec"), names)
    found: Callable[[dict[str, int], str, str], dict[str, list[int]]] = names[
        "parse_inclusion_exclusion"
    ]
    return found

"""Python: what cannot be imported, loaded or read, and an end from outside.

An exception that no row knows is told with its type, its message and its place in the script.
"""

from __future__ import annotations

from orchestrator.diagnose.signature import Kind, Signature

EXCEPTION = Signature(
    id="python.exception",
    meaning="the script raised an exception",
    patterns=(),
    cause="the line of the script that is named raised it",
    fix="correct that line, or what it is given",
)
"""Stands for every exception that no row of the table knows."""

SIGNATURES = (
    Signature(
        id="python.no-module",
        meaning="a Python module is missing",
        patterns=(
            r"\bModuleNotFoundError: No module named '(?P<module>[\w.]{1,200})'",
            (
                r"^\S{0,400}python[\d.]{0,8}: (?:Error while finding module specification.*)?"
                r"No module named '?(?P<module>[\w.]{1,200})'?"
            ),
        ),
        cause="{module} is not installed for the Python that ran here",
        fix="name the Python that has it with `python:` in the inventory; else install it for that one",
        check="sw.import",
        is_survivable=True,
    ),
    Signature(
        id="python.no-library",
        meaning="a shared library is missing",
        patterns=(
            r"Error: (?P<library>[^:\s]{1,200}): cannot open shared object file",
            r"error while loading shared libraries: (?P<library>[^:\s]{1,200}): cannot open",
        ),
        cause="{library} is not on this node, or not on the loader's path",
        fix="install the package that holds it, or set LD_LIBRARY_PATH for this node",
        check="sw.import",
        is_survivable=True,
    ),
    Signature(
        id="python.old-libc",
        meaning="a compiled package needs a newer system",
        patterns=(r"version [`'](?P<version>(?:GLIBC|GLIBCXX|CXXABI)_[\d.]{1,20})' not found",),
        cause="it was built for {version}, which this node's libraries do not have",
        fix="build or install the package on the oldest node, or bring libstdc++ with the environment",
        check="sw.import",
        is_survivable=True,
    ),
    Signature(
        id="python.symbol",
        meaning="a compiled package does not fit torch",
        patterns=(r"undefined symbol: \w",),
        cause="it was built against another version of torch or CUDA",
        fix="install it again for the torch of this node",
        check="sw.versions",
        is_survivable=True,
    ),
    Signature(
        id="python.no-name",
        meaning="a name cannot be imported",
        patterns=(r"ImportError: cannot import name '(?P<name>\w{1,200})'",),
        cause="the version installed here does not have {name}, or a file of that name hides the package",
        fix="install the same versions on every node",
        check="sw.versions",
        is_survivable=True,
    ),
    Signature(
        id="python.syntax",
        meaning="Python cannot read the script",
        patterns=(r"^SyntaxError: ", r"^IndentationError: ", r"^TabError: "),
        cause="a mistake in the script, or a Python older than it was written for",
        fix="correct the line that it names, or give a newer Python as `python` in the inventory",
        check="sw.versions",
    ),
    Signature(
        id="python.interrupted",
        meaning="interrupted",
        patterns=(r"^KeyboardInterrupt\b",),
        cause="somebody pressed Ctrl-C, or the run was stopped",
        fix="nothing, if you stopped it; else look at what failed before",
        kind=Kind.SYMPTOM,
        after="a stop of the run",
    ),
    Signature(
        id="state.mismatch",
        meaning="the checkpoint does not fit the model",
        patterns=(r"Error\(s\) in loading state_dict for",),
        cause="it was saved from a model of other layers or sizes, or wrapped in DDP (`module.`)",
        fix="load it into the same model; strip or add `module.` where only that differs",
    ),
    Signature(
        id="state.torn",
        meaning="the checkpoint is damaged",
        patterns=(
            r"PytorchStreamReader failed",
            r"unexpected EOF, expected \d+ more bytes",
            r"Ran out of input$",
            r"_pickle\.UnpicklingError: (?:pickle data was truncated|invalid load key)",
        ),
        cause="its writing was cut off, or it is read while rank 0 still writes",
        fix="write to another name and rename when done; let other ranks wait at a barrier",
    ),
    Signature(
        id="state.weights-only",
        meaning="the checkpoint holds more than tensors",
        patterns=(r"Weights only load failed",),
        cause="since torch 2.6, torch.load takes tensors only unless told otherwise",
        fix="torch.load(path, weights_only=False), if you trust the file",
    ),
    Signature(
        id="state.device",
        meaning="the checkpoint is of a GPU that is not here",
        patterns=(r"Attempting to deserialize object on (?:a )?CUDA device",),
        cause="it was saved from CUDA tensors, and this rank has no such GPU",
        fix="torch.load(path, map_location='cpu'), then move it to the device of the rank",
    ),
)

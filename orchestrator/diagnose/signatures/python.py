"""Python: what cannot be imported, loaded or read, and interrupts.

An exception that matches no row is reported with its type, its message and its line in the script.
"""

from __future__ import annotations

from orchestrator.diagnose.signature import Kind, Signature

EXCEPTION = Signature(
    id="python.exception",
    meaning="the script raised an exception",
    cause="it was raised at the line of the script that is named",
    fix="fix that line, or the values that it gets",
)
"""Any exception that matches no row of the table."""

LAST_LINE = Signature(
    id="python.last-line",
    meaning="the output ends with an exception",
    cause="the script most likely raised it; its traceback is not in this log",
    fix="look for the traceback in the standard error of the rank, and run with PYTHONUNBUFFERED=1",
    is_survivable=True,
    is_general=True,
    is_inferred=True,
)
"""An exception without its traceback, as the last line of an output, that matches no row of the table."""

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
        fix="install it for that Python, or use the one that has it (orch: `python:` in the inventory)",
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
        cause="{library} is not on this node, or not in the search path of the loader",
        fix="install the package that contains it, or add its folder to LD_LIBRARY_PATH on this node",
        check="sw.import",
        is_survivable=True,
    ),
    Signature(
        id="python.old-libc",
        meaning="a compiled package needs newer system libraries",
        patterns=(r"version [`'](?P<version>(?:GLIBC|GLIBCXX|CXXABI)_[\d.]{1,20})' not found",),
        cause="it was built for {version}, which the libraries of this node lack",
        fix="install a build for the oldest node, or run in a container",
        check="sw.import",
        is_survivable=True,
    ),
    Signature(
        id="python.symbol",
        meaning="a compiled package does not match torch",
        patterns=(
            r"undefined symbol: \w",
            r"operator torchvision::\w{1,40} does not exist",
            r"\b(?:FusedAdam|FusedLAMB|FusedLayerNorm\w{0,20}) requires cuda extensions",
        ),
        cause="it was built against another version of torch or CUDA",
        fix="reinstall it for the torch of this node",
        check="sw.versions",
        is_survivable=True,
    ),
    Signature(
        id="python.no-name",
        meaning="a name cannot be imported",
        patterns=(r"ImportError: cannot import name '(?P<name>\w{1,200})'",),
        cause="the installed version does not have {name}, or a file of yours hides the package",
        fix="install the same versions on all nodes, and rename files that are named like the package",
        check="sw.versions",
        is_survivable=True,
    ),
    Signature(
        id="python.syntax",
        meaning="Python cannot read the script",
        patterns=(r"^SyntaxError: ", r"^IndentationError: ", r"^TabError: "),
        cause="an error in the script, or a Python older than it was written for",
        fix="correct the line that is named, or use a newer Python (orch: `python:` in the inventory)",
        check="sw.versions",
    ),
    Signature(
        id="python.interrupted",
        meaning="interrupted",
        patterns=(r"^KeyboardInterrupt\b",),
        cause="Ctrl-C was pressed, or the run was stopped",
        fix="nothing, if you stopped it; else look at what failed before",
        kind=Kind.SYMPTOM,
        after="a stop of the run",
    ),
)

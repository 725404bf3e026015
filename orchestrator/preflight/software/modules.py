"""The modules that the script imports: if one is missing on a node, the job ends at once."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from orchestrator.plan.project_modules import remedy_for_project_module
from orchestrator.preflight.judge import for_all, judge_nodes
from orchestrator.preflight.model import (
    Context,
    Finding,
    Group,
    Level,
    NodeContext,
    Script,
    Status,
    Unmeasured,
    check,
)
from orchestrator.preflight.script.imports import Needs, needs
from orchestrator.preflight.software.interpreter import NAME_PYTHON, SOFTWARE, Interpreter
from orchestrator.preflight.verdict import Verdict, passed, skip

# Modules with another name than their distribution.
_DISTRIBUTIONS = {
    "Crypto": "pycryptodome",
    "OpenSSL": "pyOpenSSL",
    "PIL": "pillow",
    "attr": "attrs",
    "bs4": "beautifulsoup4",
    "cv2": "opencv-python",
    "dateutil": "python-dateutil",
    "distutils": "setuptools",
    "dotenv": "python-dotenv",
    "faiss": "faiss-cpu",
    "fitz": "PyMuPDF",
    "git": "GitPython",
    "lightning_fabric": "lightning",
    "magic": "python-magic",
    "mpl_toolkits": "matplotlib",
    "msgpack_numpy": "msgpack-numpy",
    "open_clip": "open-clip-torch",
    "pkg_resources": "setuptools",
    "pytorch_lightning": "pytorch-lightning",
    "ruamel": "ruamel.yaml",
    "serial": "pyserial",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "slugify": "python-slugify",
    "umap": "umap-learn",
    "yaml": "PyYAML",
    "zmq": "pyzmq",
}


@check("sw.import", Group.SOFTWARE, Level.QUICK, probes=(SOFTWARE,))
def check_imports(context: Context) -> list[Finding]:
    """The modules that the script imports are there on every node.

    The imports that are sure to run, in the script and in those of its own modules that it imports: not
    those in functions that may not run, under a condition, or in a `try`. The job's interpreter must find
    each of them, in the job's environment; nothing is imported. A missing module fails; it warns if the
    script changes `sys.path` or installs packages by itself. The remedy installs the distribution, which
    often has another name (`cv2` is in opencv-python). A module of the project itself is never to be
    installed, as a foreign package may have its name: the remedy reports where it is and how Python finds
    it there.
    """
    script = context.script
    if script is None:
        return for_all(context, skip(context.why_no_script))
    needed = needs(script)
    # A function's rank has a stand-in of orch where it is not installed.
    own = {"orchestrator"} if context.job.function is not None else set()

    def verdict(node: NodeContext) -> Verdict:
        interpreter = node.answer(SOFTWARE).interpreter
        if interpreter is None:
            raise Unmeasured("Python does not start in the job's environment")
        missing = [
            name for name in needed.imports if name in interpreter.missing and name not in own
        ]
        if not missing:
            return passed(f"has every module that {script.path.name} imports")
        return _missing(node, script, interpreter, missing, needed)

    return judge_nodes(context, verdict)


def _missing(
    node: NodeContext,
    script: Script,
    interpreter: Interpreter,
    missing: Sequence[str],
    needed: Needs,
) -> Verdict:
    named = ", ".join(f"{name} ({needed.imports[name]} imports it)" for name in missing)
    doubt = "" if needed.settled else "; but the script changes where modules are found"
    project = script.folder or script.path.parent
    texts: list[str] = []
    standard, others = [], []
    for name in missing:
        if name in sys.stdlib_module_names:
            standard.append(name)
        elif text := remedy_for_project_module(project, node.plan.folder, name):
            texts.append(text)
        else:
            others.append(_DISTRIBUTIONS.get(name, name.replace("_", "-")))
    if standard:
        texts.append(
            f"{', '.join(standard)} is in the standard library, but missing in Python "
            f"{interpreter.python} there: name another with `python:` in the inventory, or --python"
        )
    commands: tuple[str, ...] = ()
    if others:
        text, commands = interpreter.install(", ".join(others), *others)
        without_torch = "torch" in others and interpreter.torch is None
        texts.append(f"{NAME_PYTHON}; else {text}" if without_torch else text)
    return Verdict(
        Status.FAIL if needed.settled else Status.WARN,
        f"has no module {named}{doubt}",
        "; ".join(texts),
        commands,
        {"missing": list(missing)},
        as_root=False,
    )

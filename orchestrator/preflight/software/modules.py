"""The modules that the script imports: on every node, or it ends at its first lines."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from orchestrator.plan.project_modules import remedy_for_project_module
from orchestrator.preflight.judge import for_all, judge_each
from orchestrator.preflight.model import Context, Finding, Group, Level, NodeContext, Status, check
from orchestrator.preflight.script.imports import Needs, needs
from orchestrator.preflight.software.interpreter import NAME_PYTHON, SOFTWARE, Interpreter, Software
from orchestrator.preflight.verdict import Verdict, incomplete, passed, skip

# Where the distribution to install is not called as the module.
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

    The imports that are sure to be made, by the script and by those of its own modules that it imports:
    those in functions that may not run, under a condition, or in a `try` are left out. Each must be found
    by the job's interpreter, in the job's environment; nothing is imported. A module that is not found
    fails, and warns where the script changes `sys.path` or installs packages by itself. The remedy
    installs the distribution, whose name is often another (`cv2` is in opencv-python). What lies in the
    project itself is never to be installed: a stranger's package may have its name; the remedy says where
    it is and how Python finds it there.
    """
    if context.script is None:
        return for_all(context, skip(context.why_no_script))
    needed = needs(context.script)

    def verdict(node: NodeContext, found: Software) -> Verdict:
        if not isinstance(found.interpreter, Interpreter):
            return incomplete("Python does not start in the job's environment")
        missing = [name for name in found.interpreter.missing if name in needed.imports]
        if not missing:
            return passed(f"has every module that {_file(context)} imports")
        return _missing(
            node, found.interpreter, {name: needed.imports[name] for name in missing}, needed
        )

    return judge_each(context, SOFTWARE, verdict)


def _missing(
    node: NodeContext, interpreter: Interpreter, where: Mapping[str, str], needed: Needs
) -> Verdict:
    named = ", ".join(f"{module} ({place} imports it)" for module, place in where.items())
    message = f"has no module {named}"
    status = Status.FAIL if needed.settled else Status.WARN
    if not needed.settled:
        message += "; but the script changes where modules are found"
    own = [module for module in where if module in sys.stdlib_module_names]
    projects = {m: text for m in where if m not in own and (text := _of_project(node, m))}
    others = [
        _DISTRIBUTIONS.get(m, m.replace("_", "-"))
        for m in where
        if m not in own and m not in projects
    ]
    texts = list(projects.values())
    if own:
        texts.append(
            f"{', '.join(own)} is part of a whole Python, and Python {interpreter.python} has it not: "
            "name another with `python:` in the inventory"
        )
    if others:
        install = interpreter.installing(f"install {', '.join(others)}")
        is_torch_missing = "torch" in others and interpreter.torch is None
        texts.append(f"{NAME_PYTHON}; else {install}" if is_torch_missing else install)
    commands = interpreter.install(*others) if others else ()
    data = {"missing": list(where)}
    return Verdict(status, message, "; ".join(texts), commands, data, as_root=False)


def _of_project(node: NodeContext, module: str) -> str | None:
    """Return how the project's own module is found on nodes; None for a module of others."""
    script = node.context.script
    if script is None:
        return None
    return remedy_for_project_module(script.folder or script.path.parent, node.plan.folder, module)


def _file(context: Context) -> str:
    return context.script.path.name if context.script else ""

"""The modules that the script imports: on every node, or it ends at its first lines."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from orchestrator.preflight.judge import Verdict, incomplete, judge_each, whole
from orchestrator.preflight.model import Check, Finding, Group, Level, Status
from orchestrator.preflight.scene import Scene, Subject
from orchestrator.preflight.script.imports import Needs, needs
from orchestrator.preflight.software.interpreter import SOFTWARE, Interpreter, Software

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


def _imports(scene: Scene) -> list[Finding]:
    if scene.script is None:
        return whole(scene, Status.SKIP, "no script was given")
    needed = needs(scene.script)
    where = {each.module: each.where for each in needed.imports}

    def verdict(subject: Subject, found: Software) -> Verdict:
        if not isinstance(found.interpreter, Interpreter):
            return incomplete("Python does not start in the job's environment")
        missing = [name for name in found.interpreter.missing if name in where]
        if not missing:
            return Verdict(Status.PASS, f"has every module that {_file(scene)} imports")
        return _missing(found.interpreter, {name: where[name] for name in missing}, needed)

    return judge_each(scene, SOFTWARE, verdict)


def _missing(interpreter: Interpreter, where: Mapping[str, str], needed: Needs) -> Verdict:
    named = ", ".join(f"{module} ({place} imports it)" for module, place in where.items())
    message = f"has no module {named}"
    status = Status.FAIL if needed.settled else Status.WARN
    if not needed.settled:
        message += "; but the script changes where modules are found"
    own = [module for module in where if module in sys.stdlib_module_names]
    others = [_DISTRIBUTIONS.get(m, m.replace("_", "-")) for m in where if m not in own]
    texts = []
    if own:
        texts.append(
            f"{', '.join(own)} is part of a whole Python, and Python {interpreter.python} has it not: "
            "name another with `python:` in the inventory"
        )
    if others:
        texts.append(f"install {', '.join(others)}")
    commands = interpreter.install(*others) if others else ()
    data = {"missing": list(where)}
    return Verdict(status, message, "; ".join(texts), commands, data, as_root=False)


def _file(scene: Scene) -> str:
    return scene.script.path.name if scene.script else ""


IMPORTS = Check(
    id="sw.import",
    group=Group.SOFTWARE,
    level=Level.QUICK,
    meaning="the modules that the script imports are there on every node",
    page="The imports that are sure to be made, by the script and by those of its own modules that it "
    "imports: those in functions that may not run, under a condition, or in a `try` are left out. "
    "Each must be found by the job's interpreter, in the job's environment; nothing is imported. A "
    "module that is not found fails, and warns where the script changes `sys.path` or installs "
    "packages by itself. The remedy installs the distribution, whose name is often another (`cv2` is "
    "in opencv-python).",
    verdict=_imports,
    probes=(SOFTWARE,),
)

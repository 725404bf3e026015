"""The zipapp's entry point.

`serve` for a controller, `shim` in place of a rank's interpreter, `compile` once after the upload.
"""

import os
import sys


def main() -> None:
    """Run the verb that the command line names."""
    verb, arguments = sys.argv[1], sys.argv[2:]
    compiled = "{}.{}.pyz".format(sys.argv[0][: -len(".pyz")], sys.implementation.cache_tag)
    if os.path.exists(compiled):
        sys.path.insert(0, compiled)  # see packages.py
    if verb == "serve":
        if os.environ.pop("ORCH_STEP", None):
            from orchestrator.node.step import remain

            remain()
        from orchestrator.node.serve import main as serve

        serve()
    elif verb == "shim":
        from orchestrator.node.shim import main as shim

        shim(arguments)
    elif verb == "compile":
        from orchestrator.node.packages import write_compiled

        write_compiled(sys.argv[0])
    else:
        sys.exit("orch: unknown verb {!r}".format(verb))


main()

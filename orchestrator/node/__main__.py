"""The zipapp's entry: `serve` for a controller, `shim` in place of a rank's interpreter."""

import sys


def main() -> None:
    """Run the verb that the command line names."""
    verb, arguments = sys.argv[1], sys.argv[2:]
    if verb == "serve":
        from orchestrator.node.serve import main as serve

        serve()
    elif verb == "shim":
        from orchestrator.node.shim import main as shim

        shim(arguments)
    else:
        sys.exit("orch: no such verb: {!r}".format(verb))


main()

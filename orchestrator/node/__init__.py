"""Everything that runs ON a node: standard library only, Python 3.8 and later.

The controller packs this folder into one zipapp named by its hash (`remote/package.py`) and talks to it
over the stdin and stdout of one SSH channel (`serve.py` has the protocol). Modules here import each other
relatively and nothing else of orch: on a node there is nothing else.
"""

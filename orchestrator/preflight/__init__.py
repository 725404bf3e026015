"""Check what a launch needs, on every node and between them, and report what is in its way.

model            checks, findings, remedies, and the context that verdicts are made on
measure          measure, then judge
judge            findings from the verdicts on each node
answers          ask a node, and parse its answer
circuit_breaker  do not wait twice for a node that does not answer
registry         all checks
quick            the checks made before every launch
report           the results of all checks
fixes            what to do about them, each remedy once
messages         findings and fixes as text
pairwise         what was measured between nodes, for a picture

One folder for each group of checks holds their verdicts (pure functions of what was measured) and the
measurements that take several nodes. What one node measures by itself is in `node/probes/`.
"""

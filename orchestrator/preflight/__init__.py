"""Try what a launch will need, on every node and between them, and say what stands in its way.

model      what a check, a finding and a remedy are
scene      what a verdict looks at
measure    measure, then judge
judge      findings from what each node answered
giving_up  no node is waited for twice
registry   every check
quick      those that are made before every launch
report     the results together
mend       what to do about them, each remedy once
words      both in plain words
between    what was measured between nodes, for a picture

and a folder for each group of checks: pure verdicts on what nodes answered, beside the measurements that
take several nodes. What one node measures by itself is in `node/probes/`.
"""

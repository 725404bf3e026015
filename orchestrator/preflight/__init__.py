"""Try what a launch will need, on every node and between them, and say what stands in its way.

model      what a check, a finding and a remedy are
scene      what a verdict looks at
judge      findings from what each node answered
registry   every check
measure    measure, then judge
report     the results together
and one file a group, or a measurement, with its checks: pure verdicts on what nodes answered.
"""

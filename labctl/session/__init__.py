"""A lab that is up while a scenario runs in it, one room for each thing a run does there.

`hosts` speaks to the agents, `captures` records, `programs` runs what the scenario runs, `faults` breaks and heals. The
order in which they are asked is `labctl.runner`'s alone.
"""

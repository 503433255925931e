"""A policy cloned from an expert in the simulator, on features and on pixels.

`task.py` is what there is to do, `episodes.py` what the expert did, `heads.py` the networks;
`train.py` fits them, `judge.py` tells how good they are, and `run.py` does it all in a folder.
`scripts/clone_policy` runs it; docs/policy-learning.md has what was found.
"""

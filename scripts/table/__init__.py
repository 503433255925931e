"""The simulated table of the demo clip, of demo-tiny's training and of the cloned policy.

`model.py` says what stands there, `scene.py` moves the arm and renders. Both need MuJoCo, and
nothing of theia_ros.
"""

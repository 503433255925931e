"""The live view: a page on this computer that shows what an encoder node makes.

`robot.py` listens to ROS, `pictures.py` makes JPEG of messages, `state.py` tells what there is,
`hub.py` keeps the newest for each browser, and `server.py` hands it out.
"""

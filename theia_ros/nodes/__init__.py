"""Nodes: wiring between ROS and the encoder, and nothing else."""

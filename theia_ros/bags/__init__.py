"""Bags: the pictures of a recording to features, by the way that the node goes, without ROS."""

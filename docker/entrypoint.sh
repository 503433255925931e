#!/usr/bin/env bash
# Bring ROS and the encoder into the container, and run what was asked for.
set -e
# shellcheck disable=SC1090
source "/opt/ros/$ROS_DISTRO/setup.bash"
# shellcheck disable=SC1091
source /ws/install/setup.bash
# Else glibc gives the memory of each image back to the kernel, and fetching it again is slow.
export MALLOC_MMAP_THRESHOLD_=536870912 MALLOC_TRIM_THRESHOLD_=536870912
exec "$@"

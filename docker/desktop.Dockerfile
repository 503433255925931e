# The encoder on a desktop or a server: with an NVIDIA GPU, or on the CPU. See docker/README.md.
ARG ROS_DISTRO=jazzy
FROM ros:${ROS_DISTRO}-ros-base

# What runs the model, as arguments of pip. CUDA and TensorRT come with these packages; only the
# driver comes from the host.
ARG ENGINE="torch==2.14.* torch-tensorrt==2.14.*"

WORKDIR /ws

# What package.xml names, by rosdep. Alone, so that a change of the code does not repeat it.
# Versions of apt are not pinned: Ubuntu's archive keeps the newest only.
COPY package.xml src/theia_ros/package.xml
# hadolint ignore=DL3008
RUN apt-get update \
    && rosdep update --rosdistro "$ROS_DISTRO" \
    && DEBIAN_FRONTEND=noninteractive rosdep install --from-paths src --ignore-src -y \
    && apt-get install -y --no-install-recommends python3-pip python3-venv \
    && rm -rf /var/lib/apt/lists/*

# In an environment of its own beside the packages of ROS, whose cv_bridge wants numpy 1.
RUN python3 -m venv --system-site-packages /venv
ENV VIRTUAL_ENV=/venv PATH=/venv/bin:$PATH
# ENGINE is several arguments, with versions of their own.
# hadolint ignore=SC2086,DL3013
RUN python3 -m pip install --no-cache-dir "numpy<2" "onnx>=1.16,<2" "safetensors>=0.4,<1" $ENGINE

COPY . src/theia_ros
RUN . "/opt/ros/$ROS_DISTRO/setup.sh" && colcon build && rm -rf build log

COPY docker/entrypoint.sh /entrypoint.sh
# Models and engines are kept in /cache, which is to come from outside.
ENV THEIA_ROS_CACHE=/cache \
    HOME=/tmp \
    ROS_LOG_DIR=/tmp/ros_log \
    FASTDDS_DEFAULT_PROFILES_FILE=/ws/install/theia_ros/share/theia_ros/config/fastdds.xml \
    FASTRTPS_DEFAULT_PROFILES_FILE=/ws/install/theia_ros/share/theia_ros/config/fastdds.xml \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
ENTRYPOINT ["/bin/bash", "/entrypoint.sh"]
CMD ["ros2", "launch", "theia_ros", "encoder.launch.py"]

# The encoder on a Jetson: JetPack 6 (Orin) or JetPack 7 (Thor). See docker/README.md.
#
# An image of NVIDIA for this JetPack, which has CUDA and TensorRT in it.
ARG BASE
FROM ${BASE}

# humble on JetPack 6, jazzy on JetPack 7: the one that Ubuntu of the base has.
ARG ROS_DISTRO=humble
# Version of the package that knows where the packages of ROS are.
ARG ROS_APT_SOURCE=1.1.0
# Packages for torch and Torch-TensorRT, as arguments of pip; empty where the base has both.
ARG ENGINE=""

ENV DEBIAN_FRONTEND=noninteractive LANG=C.UTF-8 ROS_DISTRO=${ROS_DISTRO}
WORKDIR /ws

# Versions of apt are not pinned: Ubuntu's archive keeps the newest only.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates curl \
    && . /etc/os-release \
    && site=https://github.com/ros-infrastructure/ros-apt-source/releases/download \
    && file="ros2-apt-source_$ROS_APT_SOURCE.${VERSION_CODENAME}_all.deb" \
    && curl -fsSL -o /tmp/source.deb "$site/$ROS_APT_SOURCE/$file" \
    && dpkg -i /tmp/source.deb \
    && rm -rf /tmp/source.deb /var/lib/apt/lists/*

COPY package.xml src/theia_ros/package.xml
# The OpenCV of NVIDIA and that of Ubuntu, which cv_bridge is made for, exclude each other.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get purge -y '.*opencv.*' \
    && apt-get install -y --no-install-recommends g++ "ros-$ROS_DISTRO-ros-base" \
        python3-colcon-common-extensions python3-pip python3-rosdep python3-venv \
    && rosdep init \
    && rosdep update --rosdistro "$ROS_DISTRO" \
    && rosdep install --from-paths src --ignore-src -y \
    && rm -rf /var/lib/apt/lists/*

RUN python3 -m venv --system-site-packages /venv
# NVIDIA's images constrain pip to the versions that they hold.
ENV VIRTUAL_ENV=/venv PATH=/venv/bin:$PATH PIP_CONSTRAINT=""
# Without their dependencies: those of the Jetson's own index are for its CUDA, and another index
# would replace them. What they need beside that follows. ENGINE is several arguments, with versions
# of their own.
# hadolint ignore=SC2086,DL3013
RUN if [ -n "$ENGINE" ]; then \
        python3 -m pip install --no-cache-dir --no-deps $ENGINE \
        && python3 -m pip install --no-cache-dir dllist filelock fsspec jinja2 networkx packaging \
            sympy typing-extensions; \
    fi
RUN python3 -m pip install --no-cache-dir "numpy<2" "onnx>=1.16,<2" "safetensors>=0.4,<1"

COPY . src/theia_ros
RUN . "/opt/ros/$ROS_DISTRO/setup.sh" && colcon build && rm -rf build log

COPY docker/entrypoint.sh /entrypoint.sh
ENV THEIA_ROS_CACHE=/cache \
    HOME=/tmp \
    ROS_LOG_DIR=/tmp/ros_log \
    FASTDDS_DEFAULT_PROFILES_FILE=/ws/install/theia_ros/share/theia_ros/config/fastdds.xml \
    FASTRTPS_DEFAULT_PROFILES_FILE=/ws/install/theia_ros/share/theia_ros/config/fastdds.xml \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=all
ENTRYPOINT ["/bin/bash", "/entrypoint.sh"]
CMD ["ros2", "launch", "theia_ros", "encoder.launch.py"]

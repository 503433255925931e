# shellcheck shell=bash disable=SC1091
# Use the environment that scripts/setup made, in this shell: source scripts/env.sh
# Every variable that is set already stays, except the search paths, which grow.

_theia_root=$(cd "$(dirname "${BASH_SOURCE[0]:-$0}")/.." && pwd -P)
_theia_venv=$_theia_root/.venv

if [ ! -e "$_theia_venv/setup/done" ]; then
  echo 'scripts/env.sh: expected a finished .venv/, found none; run scripts/setup' >&2
  unset _theia_root _theia_venv
  return 1
fi
if grep -q 'as sourced' "$_theia_venv/setup/base" && [ -z "${ROS_DISTRO:-}" ]; then
  echo "scripts/env.sh: .venv/ was made for $(sed 's/,.*//' "$_theia_venv/setup/base");" \
    'source its setup.bash first' >&2
  unset _theia_root _theia_venv
  return 1
fi

case ":$PATH:" in
  *":$_theia_venv/bin:"*) ;;
  *) . "$_theia_venv/bin/activate" ;;
esac

# share/ of theia_ros and theia_msgs, and of ROS itself where that came from wheels.
case ":${AMENT_PREFIX_PATH:-}:" in
  *":$_theia_venv:"*) ;;
  *)
    export AMENT_PREFIX_PATH="$_theia_venv${AMENT_PREFIX_PATH:+:$AMENT_PREFIX_PATH}"
    # The wheels find their libraries themselves. A sourced ROS does not know of .venv/, and may
    # hold another build of this project, which must not win.
    if [ -n "${ROS_DISTRO:-}" ]; then
      export LD_LIBRARY_PATH="$_theia_venv/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
      PYTHONPATH="$("$_theia_venv/bin/python" -c \
        'import sysconfig; print(sysconfig.get_path("purelib"))')${PYTHONPATH:+:$PYTHONPATH}"
      export PYTHONPATH="$_theia_root:$PYTHONPATH"
    fi
    ;;
esac

# Nothing leaves this computer. Humble knows only the older of the two variables.
if [ "${ROS_DISTRO:-}" = humble ]; then
  export ROS_LOCALHOST_ONLY="${ROS_LOCALHOST_ONLY:-1}"
else
  export ROS_AUTOMATIC_DISCOVERY_RANGE="${ROS_AUTOMATIC_DISCOVERY_RANGE:-LOCALHOST}"
fi

# Fast DDS loses large best-effort images by default. A transport that you chose yourself stays.
if [ -z "${FASTDDS_BUILTIN_TRANSPORTS:-}${FASTDDS_DEFAULT_PROFILES_FILE:-}" ]; then
  export FASTDDS_DEFAULT_PROFILES_FILE="$_theia_root/config/fastdds.xml"
  # Humble knows it by this name only.
  [ "${ROS_DISTRO:-}" != humble ] ||
    export FASTRTPS_DEFAULT_PROFILES_FILE="$FASTDDS_DEFAULT_PROFILES_FILE"
fi
# Else glibc returns each image's memory to the kernel, and fetching it again costs more than
# all the rest of receiving it.
export MALLOC_MMAP_THRESHOLD_="${MALLOC_MMAP_THRESHOLD_:-536870912}"
export MALLOC_TRIM_THRESHOLD_="${MALLOC_TRIM_THRESHOLD_:-536870912}"
export MALLOC_TOP_PAD_="${MALLOC_TOP_PAD_:-16777216}"

# rclpy writes its log under HOME and does not start without one.
if [ ! -w "${HOME:-/nonexistent}" ]; then
  export ROS_LOG_DIR="${ROS_LOG_DIR:-${TMPDIR:-/tmp}/theia_ros_log}"
fi

unset _theia_root _theia_venv

"""What stands in the demo scene: a Panda arm, a table, a tray, simple objects, light, cameras.

The arm's model and meshes are read from the installed robosuite package; robosuite itself is not
imported. Everything else is made of MuJoCo primitives in plain or computed colours, so that no
texture of unknown origin can get into a picture. World axes: x from the robot to the front, y to
its left, z up; the table's top is z = 0. Lengths are metres.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

if sys.platform == 'linux':
    os.environ.setdefault('MUJOCO_GL', 'egl')  # no display is needed; osmesa works too

INSTALL = (
    'pip install mujoco==3.3.7 && pip install --no-deps robosuite==1.5.2, '
    'and on Debian or Ubuntu: apt install libegl1 libgl1 libgl1-mesa-dri'
)
try:
    import mujoco
except Exception as exc:  # its OpenGL loader raises AttributeError without a library
    raise ImportError(f'the simulator is missing ({exc}); install it: {INSTALL}') from None

CLASSES = (
    'background',
    'table',
    'robot',
    'gripper',
    'tray',
    'cube',
    'cylinder',
    'ball',
    'brick',
    'bottle',
)
CAMERAS = ('front', 'side', 'wrist')
TRAY_CENTRE_M = np.array([0.46, 0.30])
TRAY_HALF_M = np.array([0.13, 0.15])
COLOURS = {
    'red': (0.80, 0.12, 0.10),
    'orange': (0.93, 0.45, 0.07),
    'yellow': (0.95, 0.76, 0.10),
    'green': (0.13, 0.55, 0.24),
    'blue': (0.10, 0.32, 0.75),
    'purple': (0.45, 0.20, 0.60),
    'teal': (0.05, 0.55, 0.58),
    'white': (0.90, 0.90, 0.88),
}


class SceneError(Exception):
    """The scene cannot be made; the message is one line for the user."""


@dataclass(frozen=True)
class Thing:
    """One movable object: what it is, and how the expert takes hold of it."""

    name: str
    label: str
    colour: str
    geoms: tuple[tuple[str, tuple[float, ...], float], ...]  # (shape, half sizes, height)
    grip_m: float  # height of the grip above the table when the object stands on it
    width_m: float  # of what is between the fingers


# Half sizes as MuJoCo has them: box (x, y, z), cylinder (radius, half height), sphere (radius).
THINGS = (
    Thing('small cube', 'cube', 'red', (('box', (0.024, 0.024, 0.024), 0.024),), 0.024, 0.048),
    Thing('cylinder', 'cylinder', 'blue', (('cylinder', (0.025, 0.045), 0.045),), 0.055, 0.050),
    Thing('ball', 'ball', 'yellow', (('sphere', (0.028,), 0.028),), 0.028, 0.056),
    Thing('brick', 'brick', 'green', (('box', (0.050, 0.022, 0.030), 0.030),), 0.034, 0.044),
    Thing('large cube', 'cube', 'orange', (('box', (0.028, 0.028, 0.028), 0.028),), 0.028, 0.056),
    Thing(
        'bottle',
        'bottle',
        'teal',
        (
            ('cylinder', (0.028, 0.041), 0.041),
            ('cylinder', (0.013, 0.012), 0.093),
            ('cylinder', (0.017, 0.007), 0.110),
        ),
        0.055,
        0.056,
    ),
)


def _panda_files() -> tuple[Path, Path]:
    """Return the arm's and the gripper's MJCF inside the robosuite package."""
    found = importlib.util.find_spec('robosuite')  # finds it without running it
    if found is None or not found.submodule_search_locations:
        raise SceneError(f'robosuite, which has the model of the arm, is missing; {INSTALL}')
    assets = Path(found.submodule_search_locations[0]) / 'models' / 'assets'
    files = assets / 'robots/panda/robot.xml', assets / 'grippers/panda_gripper.xml'
    for file in files:
        if not file.is_file():
            raise SceneError(f'robosuite has no {file.name} at {file}; {INSTALL}')
    return files


Rgba = list[float]
Colour = Callable[[tuple[float, float, float], float], Rgba]
"""Makes a colour of red, green and blue, and of how far it may be from them in a varied scene."""


def scene_spec(
    rng: np.random.Generator,
    vary: bool,
    image_hw: tuple[int, int],
    things: tuple[Thing, ...] = THINGS,
) -> mujoco.MjSpec:
    """Return the scene's model, not yet compiled.

    What is drawn from `rng` is drawn in this order, so that a seed stays the same scene.
    """

    def colour(rgb: tuple[float, float, float], spread: float) -> Rgba:
        shift = rng.uniform(-spread, spread, 3) if vary else np.zeros(3)
        return [*np.clip(rgb + shift, 0.02, 1.0), 1.0]

    spec = _arm(image_hw)
    _add_room(spec, colour)
    _add_table(spec, rng, colour)
    _add_tray(spec, colour)
    names = list(COLOURS)
    for thing in things:
        rgb = COLOURS[rng.choice(names) if vary else thing.colour]
        _add_thing(spec, thing, colour(rgb, 0.08))
    jitter = rng.uniform(-1, 1, (3, 3)) if vary else np.zeros((3, 3))
    _add_lights(spec, jitter[0])
    _add_cameras(spec, jitter[1], jitter[2])
    return spec


def _arm(image_hw: tuple[int, int]) -> mujoco.MjSpec:
    """Return the arm with its hand, and the settings of simulator and renderer."""
    arm_file, hand_file = _panda_files()
    arm, hand = mujoco.MjSpec.from_file(str(arm_file)), mujoco.MjSpec.from_file(str(hand_file))
    spec = mujoco.MjSpec()
    spec.option.timestep = 0.002
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC  # with impratio: grasps do not slip
    spec.option.impratio = 10
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    vis = spec.visual
    vis.global_.offheight, vis.global_.offwidth = image_hw
    vis.quality.shadowsize = 4096
    vis.map.shadowclip = 0.75  # times the extent: sharp shadows on the table, none on the walls
    vis.headlight.ambient = [0.34, 0.34, 0.35]
    vis.headlight.diffuse = [0.14, 0.14, 0.14]
    vis.headlight.specular = [0.05, 0.05, 0.05]
    spec.stat.extent, spec.stat.center = 2.0, [0.4, 0.0, 0.1]
    vis.map.znear, vis.map.zfar = 0.01, 8.0  # times the extent
    arm.body('right_hand').add_frame().attach_body(hand.body('right_gripper'), 'hand/', '')
    spec.worldbody.add_frame().attach_body(arm.body('base'), 'panda/', '')
    return spec


def _add_geom(
    body: mujoco.MjsBody,
    shape: str,
    size: tuple[float, ...],
    pos: tuple[float, ...],
    rgba: Rgba,
    mass_kg: float = 0.0,
) -> None:
    kind = getattr(mujoco.mjtGeom, f'mjGEOM_{shape.upper()}')
    body.add_geom(
        type=kind,
        size=[*size, 0, 0][:3],
        pos=pos,
        rgba=rgba,
        group=1,
        mass=mass_kg,
        condim=6,
        friction=[1.2, 0.02, 0.001],
    )


def _add_room(spec: mujoco.MjSpec, colour: Colour) -> None:
    """Add floor and walls, so that every pixel has a depth."""
    world = spec.worldbody
    wall, floor = colour((0.92, 0.91, 0.88), 0.2), colour((0.40, 0.38, 0.37), 0.2)
    _add_geom(world, 'box', (3.0, 3.0, 0.02), (0.4, 0, -0.77), floor)
    for x, y in ((-1.0, 0), (1, 0), (0, -1), (0, 1)):
        at = (0.4 + 1.9 * x if x < 0 else 0.4 + 3.0 * x, 2.2 * y, 0.6)
        _add_geom(world, 'box', (0.02 if x else 3.0, 0.02 if y else 3.0, 1.4), at, wall)


def _add_table(spec: mujoco.MjSpec, rng: np.random.Generator, colour: Colour) -> None:
    table = spec.worldbody.add_body(name='table')
    wood = spec.add_texture(
        name='wood', type=mujoco.mjtTexture.mjTEXTURE_2D, nchannel=3, width=512, height=512
    )
    wood.data = _wood(rng, colour((0.78, 0.62, 0.46), 0.2)[:3], 512).tobytes()
    material = spec.add_material(name='wood', specular=0.15)
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = 'wood'
    _add_geom(table, 'box', (0.62, 0.72, 0.02), (0.36, 0, -0.02), [1, 1, 1, 1])
    table.geoms[0].material = 'wood'
    for x in (-0.2, 0.92):
        for y in (-0.66, 0.66):
            leg = colour((0.3, 0.3, 0.32), 0.1)
            _add_geom(table, 'box', (0.03, 0.03, 0.355), (x, y, -0.395), leg)


def _add_tray(spec: mujoco.MjSpec, colour: Colour) -> None:
    tray = spec.worldbody.add_body(name='tray', pos=[*TRAY_CENTRE_M, 0])
    grey, (half_x, half_y) = colour((0.30, 0.34, 0.40), 0.2), TRAY_HALF_M
    _add_geom(tray, 'box', (half_x, half_y, 0.004), (0, 0, 0.004), grey)
    for side in (-1, 1):
        _add_geom(tray, 'box', (half_x, 0.005, 0.018), (0, side * half_y, 0.018), grey)
        _add_geom(tray, 'box', (0.005, half_y, 0.018), (side * half_x, 0, 0.018), grey)


def _add_thing(spec: mujoco.MjSpec, thing: Thing, rgba: Rgba) -> None:
    body = spec.worldbody.add_body(name=thing.name)
    body.add_freejoint(name=thing.name)
    for shape, size, height_m in thing.geoms:
        _add_geom(body, shape, size, (0, 0, height_m), rgba, 0.1 / len(thing.geoms))


def _add_lights(spec: mujoco.MjSpec, jitter: NDArray[np.float64]) -> None:
    """Add a lamp that casts shadows, moved by up to half a metre, and one that brightens them."""
    spec.worldbody.add_light(
        pos=np.array([1.0, -0.9, 2.1]) + 0.5 * jitter,
        dir=[-0.35, 0.42, -0.9],
        diffuse=[0.56, 0.54, 0.51],
        specular=[0.2, 0.2, 0.2],
        castshadow=True,
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
    )
    spec.worldbody.add_light(
        pos=[0.6, 1.2, 1.8],
        dir=[-0.2, -0.8, -0.8],
        diffuse=[0.15, 0.16, 0.18],
        specular=[0, 0, 0],
        castshadow=False,
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
    )


def _add_cameras(
    spec: mujoco.MjSpec, front_jitter: NDArray[np.float64], side_jitter: NDArray[np.float64]
) -> None:
    """Add the cameras of `CAMERAS`; the fixed ones are moved by up to 12 cm."""
    for name, eye, aim, jitter in (
        ('front', (1.45, -0.80, 0.90), (0.32, 0.02, 0.24), front_jitter),
        ('side', (0.50, -1.55, 0.66), (0.34, 0.0, 0.27), side_jitter),
    ):
        pos = np.array(eye) + 0.12 * jitter
        spec.worldbody.add_camera(name=name, fovy=42, pos=pos, quat=_look_at(pos, np.array(aim)))
    # At the hand's side, so that it sees the fingertips and what is between them.
    pos = np.array([0, 0.08, 0.03])
    spec.body('panda/hand/right_gripper').add_camera(
        name='wrist',
        fovy=75,
        pos=pos,
        quat=_look_at(pos, np.array([0, 0.035, 0.15]), up=(0, 1, 0)),
    )


def _wood(rng: np.random.Generator, rgb: list[float], side_px: int) -> NDArray[np.uint8]:
    """Return a drawn table top of planks with grain, (side, side, 3)."""
    across, along = np.mgrid[0:side_px, 0:side_px] / side_px
    planks = 7
    plank = (across * planks).astype(int)
    tone = rng.uniform(0.90, 1.04, planks)[plank]
    phase = rng.uniform(0, 6, planks)[plank]
    rings = np.sin(90 * across + 1.2 * np.sin(5 * along + phase) + phase)
    fibre = np.repeat(rng.normal(0, 1, (side_px, side_px // 32)), 32, axis=1)
    joint = np.where(np.abs(across * planks % 1) < 0.02, 0.72, 1.0)
    shade = tone * joint * (1 + 0.025 * rings + 0.012 * fibre)
    return np.clip(255 * shade[..., None] * rgb, 0, 255).astype(np.uint8)


def _look_at(
    eye: NDArray[np.float64], aim: NDArray[np.float64], up: tuple[float, float, float] = (0, 0, 1)
) -> NDArray[np.float64]:
    """Return the quaternion of a MuJoCo camera (looks along -z, y up) at `eye`."""
    z = (eye - aim) / np.linalg.norm(eye - aim)
    x = np.cross(up, z)
    x /= np.linalg.norm(x)
    quat = np.empty(4)
    mujoco.mju_mat2Quat(quat, np.stack([x, np.cross(z, x), z], axis=1).ravel())
    return quat

"""A Panda arm that tidies a table, simulated by MuJoCo.

`TableScene` builds the scene of a seed, moves the arm as a `Command` says, and renders colour,
true depth, class labels and instance ids. `pick_and_place` is the scripted expert: it yields the
commands that carry the objects into the tray, one per control period.

    scene = TableScene(seed=6, image_hw=(480, 640))
    for command in islice(pick_and_place(scene), 3400):  # 34 s: all six objects
        scene.step(command)
        picture = scene.render('front')

What stands where is in `model.py`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from table.model import CLASSES
from table.model import INSTALL
from table.model import mujoco
from table.model import scene_spec
from table.model import SceneError
from table.model import Thing
from table.model import THINGS
from table.model import TRAY_CENTRE_M

CONTROL_PERIOD_S = 0.01
HOME_RAD = np.array([0.0, -0.35, 0.0, -2.35, 0.0, 2.0, np.pi / 4])
OPEN_M = 0.08
TRAVEL_HEIGHT_M = 0.26  # of the tool above an object's base while it travels
HOME_YAW_RAD = np.pi / 2  # at home the fingers open to the left and right
GEOM = int(mujoco.mjtObj.mjOBJ_GEOM)  # as an enum it makes numpy compare objects, slowly


@dataclass(frozen=True)
class Command:
    """Where the tool should be at the end of the next control period.

    Attributes:
        position_m: (3,) of the point between the fingertips.
        yaw_rad: Direction in which the fingers open, about the vertical; the tool points down.
        opening_m: Distance between the fingers, 0 to 0.08.
    """

    position_m: NDArray[np.float64]
    yaw_rad: float
    opening_m: float


@dataclass(frozen=True)
class Picture:
    """One rendered view; all arrays have the same rows and columns.

    Attributes:
        rgb: (H, W, 3) uint8.
        depth_m: (H, W) float32, along the optical axis (not along the ray).
        labels: (H, W) uint8, index into `CLASSES`.
        instances: (H, W) uint8, 0 for everything that is no movable object, else 1 + index
            into `TableScene.things`.
    """

    rgb: NDArray[np.uint8]
    depth_m: NDArray[np.float32]
    labels: NDArray[np.uint8]
    instances: NDArray[np.uint8]


class TableScene:
    """The simulated scene of one seed.

    Args:
        seed: Decides where the objects lie and, with `vary`, how everything looks.
        image_hw: Rows and columns of rendered pictures.
        vary: Also draw colours, light and the fixed cameras' poses from the seed.
        pretty: Shadows and smooth edges; about three times slower to render.
        things: What lies on the table.
    """

    def __init__(
        self,
        seed: int,
        image_hw: tuple[int, int],
        vary: bool = False,
        pretty: bool = True,
        things: tuple[Thing, ...] = THINGS,
    ) -> None:
        self.rng = np.random.default_rng(seed)
        self.things = things
        self.image_hw = image_hw
        self._pretty = pretty
        self.model = scene_spec(self.rng, vary, image_hw, things).compile()
        self.data = mujoco.MjData(self.model)
        self._plan = mujoco.MjData(self.model)  # a second arm, moved by geometry alone
        joints = [self.model.joint(f'panda/joint{i}') for i in range(1, 8)]
        self._q = np.array([j.qposadr[0] for j in joints])
        self._v = np.array([j.dofadr[0] for j in joints])
        self._range_rad = self.model.jnt_range[[j.id for j in joints]]
        self._tool = self.model.site('panda/hand/grip_site').id
        self._fingers = [
            self.model.joint(f'panda/hand/finger_joint{i}').qposadr[0] for i in (1, 2)
        ]
        self._label_of_geom, self._instance_of_geom = self._tables()
        self._shown = mujoco.MjvOption()
        self._shown.geomgroup[:] = 0, 1, 0, 0, 0, 0  # collision shapes are in group 0
        self._shown.sitegroup[:] = 0
        self._renderers: tuple[mujoco.Renderer, mujoco.Renderer] | None = None
        self._reset()

    # -- state -----------------------------------------------------------------------------

    @property
    def joint_positions_rad(self) -> NDArray[np.float64]:
        """Return the arm's joints, (7,)."""
        return self.data.qpos[self._q].copy()

    @property
    def opening_m(self) -> float:
        """Return the distance between the fingers."""
        return float(abs(self.data.qpos[self._fingers]).sum())

    @property
    def tool_position_m(self) -> NDArray[np.float64]:
        """Return the point between the fingertips, (3,)."""
        return self.data.site_xpos[self._tool].copy()

    def thing_pose(self, index: int) -> tuple[NDArray[np.float64], float]:
        """Return an object's centre of base, (3,), and its yaw in radians."""
        body = self.data.body(self.things[index].name)
        return body.xpos.copy(), float(np.arctan2(body.xmat[3], body.xmat[0]))

    def thing_rgb(self, index: int) -> list[float]:
        """Return an object's colour before it is lit, 0 to 1."""
        geom = self.model.body(self.things[index].name).geomadr[0]
        return [round(float(part), 3) for part in self.model.geom_rgba[geom, :3]]

    def camera_to_world(self, camera: str) -> NDArray[np.float64]:
        """Return the 4 x 4 pose of a camera's optical frame (x right, y down, z forward)."""
        view = self.data.camera(camera)
        pose = np.eye(4)
        pose[:3, :3] = view.xmat.reshape(3, 3) * [1, -1, -1]  # MuJoCo cameras look along -z
        pose[:3, 3] = view.xpos
        return pose

    def intrinsics(self, camera: str) -> dict[str, float]:
        """Return the pinhole of a camera in pixels; the first pixel's centre is (0, 0)."""
        h, w = self.image_hw
        focal_px = h / 2 / np.tan(np.radians(self.model.camera(camera).fovy[0]) / 2)
        return {'fx': float(focal_px), 'fy': float(focal_px), 'cx': (w - 1) / 2, 'cy': (h - 1) / 2}

    # -- motion ----------------------------------------------------------------------------

    def step(self, command: Command) -> None:
        """Simulate one control period towards `command`."""
        start_rad = self._goal_rad
        self._goal_rad = self._joints_for(command)
        steps = round(CONTROL_PERIOD_S / self.model.opt.timestep)
        speed = (self._goal_rad - start_rad) / CONTROL_PERIOD_S
        self.data.ctrl[7:9] = command.opening_m / 2, -command.opening_m / 2
        inertia = np.empty((self.model.nv, self.model.nv))
        for i in range(steps):
            wanted = start_rad + speed * CONTROL_PERIOD_S * (i + 1) / steps
            # Computed torque: each joint becomes the same critically damped spring.
            pull = 900.0 * (wanted - self.data.qpos[self._q]) + 60.0 * (
                speed - self.data.qvel[self._v]
            )
            mujoco.mj_fullM(self.model, inertia, self.data.qM)
            self.data.ctrl[:7] = (
                inertia[np.ix_(self._v, self._v)] @ pull + self.data.qfrc_bias[self._v]
            )
            mujoco.mj_step(self.model, self.data)
        mujoco.mj_forward(self.model, self.data)

    def _joints_for(self, command: Command) -> NDArray[np.float64]:
        """Return joints that put the tool there, near the last ones (damped least squares)."""
        c, s = np.cos(command.yaw_rad), np.sin(command.yaw_rad)
        wanted = np.array([[c, s, 0.0], [s, -c, 0.0], [0.0, 0.0, -1.0]])  # fingers open along x
        q = self._goal_rad.copy()
        jacobian = np.empty((6, self.model.nv))
        for _ in range(20):
            self._plan.qpos[self._q] = q
            mujoco.mj_kinematics(self.model, self._plan)
            mujoco.mj_comPos(self.model, self._plan)
            mujoco.mj_jacSite(self.model, self._plan, jacobian[:3], jacobian[3:], self._tool)
            found = self._plan.site_xmat[self._tool].reshape(3, 3)
            turn = 0.5 * np.cross(found, wanted, axis=0).sum(axis=1)
            error = np.concatenate([command.position_m - self._plan.site_xpos[self._tool], turn])
            if np.abs(error).max() < 1e-4:
                break
            j = jacobian[:, self._v]
            inverse = j.T @ np.linalg.inv(j @ j.T + 1e-4 * np.eye(6))
            # The arm has one joint too many: the rest of the motion goes towards home.
            rest = (np.eye(7) - inverse @ j) @ (HOME_RAD - q)
            q = np.clip(
                q + inverse @ error + 0.02 * rest, self._range_rad[:, 0], self._range_rad[:, 1]
            )
        return q

    def _reset(self) -> None:
        """Lay out the objects without touching each other and let them come to rest."""
        self.data.qpos[self._q] = HOME_RAD
        self.data.qpos[self._fingers] = 0.04, -0.04
        taken: list[NDArray[np.float64]] = []
        for thing in self.things:
            for _ in range(1000):
                spot = self.rng.uniform([0.32, -0.36], [0.66, 0.06])
                if all(np.linalg.norm(spot - other) > 0.125 for other in taken):
                    break
            taken.append(spot)
            yaw = self.rng.uniform(-0.7, 0.7)
            start = self.model.joint(thing.name).qposadr[0]
            self.data.qpos[start : start + 7] = [
                *spot,
                0.001,
                np.cos(yaw / 2),
                0,
                0,
                np.sin(yaw / 2),
            ]
        mujoco.mj_forward(self.model, self.data)
        self._plan.qpos[:] = self.data.qpos
        self._goal_rad = HOME_RAD.copy()
        rest = Command(self.tool_position_m, HOME_YAW_RAD, OPEN_M)
        for _ in range(50):
            self.step(rest)

    # -- pictures --------------------------------------------------------------------------

    def render(self, camera: str) -> Picture:
        """Return what `camera` sees now."""
        rgb = self.colour(camera)
        _, sharp = self._renderers or self._open_renderers()
        sharp.update_scene(self.data, camera, self._shown)
        sharp.enable_depth_rendering()
        depth_m = sharp.render()
        sharp.enable_segmentation_rendering()
        ids, kinds = np.moveaxis(sharp.render(), -1, 0)
        sharp.disable_segmentation_rendering()
        geoms = np.where(kinds == GEOM, ids, -1)  # -1 is the last entry: background
        return Picture(rgb, depth_m, self._label_of_geom[geoms], self._instance_of_geom[geoms])

    def colour(self, camera: str) -> NDArray[np.uint8]:
        """Return only the colours of what `camera` sees now, (H, W, 3), which is faster."""
        smooth, _ = self._renderers or self._open_renderers()
        smooth.update_scene(self.data, camera, self._shown)
        smooth.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = self._pretty
        return smooth.render()

    @property
    def opengl(self) -> str:
        """Return the name of what draws, known once something was drawn."""
        from OpenGL import GL

        return (GL.glGetString(GL.GL_RENDERER) or b'unknown').decode()

    def close(self) -> None:
        """Free the renderers."""
        for renderer in set(self._renderers or ()):
            renderer.close()
        self._renderers = None

    def _open_renderers(self) -> tuple[mujoco.Renderer, mujoco.Renderer]:
        # Ground truth must not be blended at edges, so it has a renderer without multisampling.
        h, w = self.image_hw
        try:
            self.model.vis.quality.offsamples = 4 if self._pretty else 0
            smooth = sharp = mujoco.Renderer(self.model, h, w)
            if self._pretty:
                self.model.vis.quality.offsamples = 0
                sharp = mujoco.Renderer(self.model, h, w)
            self._renderers = smooth, sharp
        except Exception as exc:  # the OpenGL loaders raise whatever they like
            raise SceneError(
                f'no offscreen OpenGL with MUJOCO_GL={os.environ.get("MUJOCO_GL")} '
                f'({exc}); {INSTALL}, or set MUJOCO_GL=osmesa (libosmesa6)'
            ) from exc
        return self._renderers

    def _tables(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return class and instance of every geom id, with one entry more for 'no geom'."""
        labels = np.zeros(self.model.ngeom + 1, np.uint8)
        instances = np.zeros(self.model.ngeom + 1, np.uint8)
        number = {thing.name: i for i, thing in enumerate(self.things)}
        for geom in range(self.model.ngeom):
            body = self.model.body(self.model.geom_bodyid[geom]).name
            if body in number:
                labels[geom] = CLASSES.index(self.things[number[body]].label)
                instances[geom] = 1 + number[body]
            elif body.startswith('panda/'):
                labels[geom] = CLASSES.index('gripper' if 'hand/' in body else 'robot')
            elif body in ('table', 'tray'):
                labels[geom] = CLASSES.index(body)
        return labels, instances


def _above(spot: NDArray[np.float64], height_m: float) -> NDArray[np.float64]:
    return spot + np.array([0, 0, height_m])


def pick_and_place(scene: TableScene) -> Iterator[Command]:
    """Yield commands that carry the objects into the tray, one after the other, without end.

    The order is drawn from the scene's seed. When all are carried the arm rests.
    """
    here, yaw = scene.tool_position_m, HOME_YAW_RAD
    slots = [
        TRAY_CENTRE_M + np.array([dx, dy]) for dy in (-0.09, 0.0, 0.09) for dx in (-0.06, 0.06)
    ]
    order = scene.rng.permutation(len(scene.things))
    for slot, index in zip(slots, order, strict=False):
        thing = scene.things[index]
        base, thing_yaw = scene.thing_pose(index)
        turn = (thing_yaw + np.pi / 4) % (np.pi / 2) - np.pi / 4  # a cube looks the same 4 times
        turn = HOME_YAW_RAD + (thing_yaw if thing.label == 'brick' else turn)
        shut_m = thing.width_m - 0.012
        over, at = _above(base, TRAVEL_HEIGHT_M), _above(base, thing.grip_m)
        end = np.array([*slot, 0.008])  # the tray's floor
        for goal, goal_yaw, opening_m, seconds in (
            (over, turn, OPEN_M, 1.1),
            (at, turn, OPEN_M, 0.8),
            (at, turn, shut_m, 0.35),
            (over, turn, shut_m, 0.7),
            (_above(end, TRAVEL_HEIGHT_M), HOME_YAW_RAD, shut_m, 1.1),
            (_above(end, thing.grip_m + 0.004), HOME_YAW_RAD, shut_m, 0.7),
            (_above(end, thing.grip_m + 0.004), HOME_YAW_RAD, OPEN_M, 0.25),
            (_above(end, TRAVEL_HEIGHT_M), HOME_YAW_RAD, OPEN_M, 0.6),
        ):
            steps = round(seconds / CONTROL_PERIOD_S)
            for i in range(1, steps + 1):
                t = i / steps
                part = t**3 * (10 - 15 * t + 6 * t**2)  # least jerk: smooth start and stop
                yield Command(
                    here + part * (goal - here), yaw + part * (goal_yaw - yaw), opening_m
                )
            here, yaw = goal, goal_yaw
    while True:
        yield Command(here, yaw, OPEN_M)

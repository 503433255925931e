"""The task of the clone policy: take the cylinder from the table and let it go in the tray.

`layout` draws where everything lies from a split and a number, without a simulator. `PickTask`
plays it in the scene of `table/scene.py`, has an expert that looks at the true state, and tells
whether the cylinder lies in the tray. The policy sees the camera at the hand, where the hand is,
and how far its fingers are open.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from theia_ros.errors import ParameterError

SPLITS = ('train', 'validation', 'held-out')
CAMERA = 'wrist'
IMAGE_PX = 224
PERIOD_S = 0.25
"""From one decision to the next."""
MOST_DECISIONS = 45
STATE = ('tool_x_m', 'tool_y_m', 'tool_z_m', 'opening_m')
ACTION = ('move_x_m', 'move_y_m', 'move_z_m', 'grip')
"""Where the tool should go within a period, and whether the fingers should be shut: 1 or 0."""
LARGEST_MOVE_M = 0.06

CELL_M = 0.05
AREA_M = np.array([[0.36, -0.30], [0.61, 0.05]])
"""Where the cylinder may stand: 5 x 7 cells. The tray begins behind it."""
_MARGIN_M = 0.002
_APART_M = 0.11
_TRAY_M = np.array([0.46, 0.30])
_TRAY_SHIFT_M = 0.04

# Of the expert: heights of the point between the fingertips.
_CARRY_M = 0.22
_HOVER_M = 0.12  # above the grip
_TRAY_FLOOR_M = 0.008
_HELD_OPENING_M = (0.042, 0.066)


@dataclass(frozen=True)
class Layout:
    """How an episode begins.

    Attributes:
        split: Of `SPLITS`.
        index: Number of the episode in its split.
        seed: Of everything else that is drawn: colours, light, the camera's mounting, noise.
        cylinder_m: (x, y).
        others_m: (x, y) of each thing that is to be left alone.
        tray_m: (x, y) of its centre.
        start_m: The tool's way from its place at home before the episode begins, (x, y, z).
    """

    split: str
    index: int
    seed: int
    cylinder_m: tuple[float, float]
    others_m: tuple[tuple[float, float], ...]
    tray_m: tuple[float, float]
    start_m: tuple[float, float, float]


def split_of(spot_m: NDArray[np.float64]) -> str:
    """Return which split the cell of a spot belongs to: a fifth each is held out for two."""
    i, j = np.floor((spot_m - AREA_M[0]) / CELL_M).astype(int)
    return {0: 'held-out', 1: 'validation'}.get(int(i + 2 * j) % 5, 'train')


def layout(split: str, index: int, others: int) -> Layout:
    """Draw how episode `index` of a split begins; the same arguments give the same."""
    name = hashlib.sha256(f'{split} {index}'.encode()).digest()
    seed = int.from_bytes(name[:4], 'little')
    rng = np.random.default_rng(seed)
    while True:
        spot = rng.uniform(*AREA_M)
        inside = (spot - AREA_M[0]) % CELL_M
        if (
            split_of(spot) == split
            and _MARGIN_M < inside.min() <= inside.max() < CELL_M - _MARGIN_M
        ):
            break
    taken = [spot]
    while len(taken) <= others:
        other = rng.uniform(*AREA_M)
        if all(np.linalg.norm(other - there) > _APART_M for there in taken):
            taken.append(other)
    tray = _TRAY_M + rng.uniform(-_TRAY_SHIFT_M, _TRAY_SHIFT_M, 2)
    start = rng.uniform([-0.04, -0.04, -0.06], [0.04, 0.04, 0.0])
    (x, y), *rest = [(float(a), float(b)) for a, b in taken]
    return Layout(
        split=split,
        index=index,
        seed=seed,
        cylinder_m=(x, y),
        others_m=tuple(rest),
        tray_m=(float(tray[0]), float(tray[1])),
        start_m=(float(start[0]), float(start[1]), float(start[2])),
    )


class PickTask:
    """One episode in the simulator.

    Use it as a context manager or close it.
    """

    def __init__(self, begin: Layout) -> None:
        """Build the scene.

        Raises:
            ParameterError: The simulator or its OpenGL is missing; the message says how to
                install it.
        """
        try:
            from table import model
            from table import scene
        except ImportError as exc:
            raise ParameterError(str(exc)) from exc

        kinds = {thing.name: thing for thing in model.THINGS}
        names = ('cylinder', 'small cube', 'brick', 'ball', 'large cube')
        things = tuple(kinds[name] for name in names[: 1 + len(begin.others_m)])
        self.begin = begin
        self._command = scene.Command
        self._control_s = scene.CONTROL_PERIOD_S
        self._yaw_rad = scene.HOME_YAW_RAD
        self._open_m = scene.OPEN_M
        self._shut_m = things[0].width_m - 0.012
        self._grip_m = things[0].grip_m
        self._inside_m = model.TRAY_HALF_M - 0.02
        try:
            self.scene = scene.TableScene(
                begin.seed, (IMAGE_PX, IMAGE_PX), vary=True, pretty=False, things=things
            )
            self.picture()  # so that a missing OpenGL is told here
        except model.SceneError as exc:
            raise ParameterError(str(exc)) from exc
        self._arrange()

    # -- what the policy has ---------------------------------------------------------------

    def picture(self) -> NDArray[np.uint8]:
        """Return what the camera at the hand sees, (224, 224, 3)."""
        return self.scene.colour(CAMERA)

    def state(self) -> NDArray[np.float32]:
        """Return what the robot knows of itself, as in `STATE`."""
        return np.float32([*self.scene.tool_position_m, self.scene.opening_m])

    def act(self, action: NDArray[np.float64]) -> None:
        """Do what a policy wants for one period; moves are cut to what is allowed."""
        start = self.scene.tool_position_m
        move = _cut(np.asarray(action[:3], np.float64))
        opening_m = self._shut_m if action[3] > 0.5 else self._open_m
        # The tool stays above the table and within the arm's reach.
        goal = np.clip(start + move, [0.25, -0.45, 0.015], [0.75, 0.45, 0.45])
        steps = round(PERIOD_S / self._control_s)
        for i in range(1, steps + 1):
            at = start + i / steps * (goal - start)
            self.scene.step(self._command(at, self._yaw_rad, opening_m))

    # -- what only the judge and the expert see --------------------------------------------

    def overview(self) -> NDArray[np.uint8]:
        """Return the view of a bystander, for people."""
        return self.scene.colour('front')

    @property
    def lifted(self) -> bool:
        """Tell whether the cylinder is off the table, and not in the tray."""
        base, _ = self.scene.thing_pose(0)
        return bool(base[2] > 0.06)

    @property
    def done(self) -> bool:
        """Tell whether the cylinder lies in the tray, and the fingers are open."""
        base, _ = self.scene.thing_pose(0)
        return bool(
            (np.abs(base[:2] - self.begin.tray_m) < self._inside_m).all()
            and base[2] < 0.06
            and self.scene.opening_m > _HELD_OPENING_M[1]
        )

    def expert(self) -> NDArray[np.float32]:
        """Return what to do now, as in `ACTION`; it has no memory, so it corrects itself."""
        tool, opening = self.scene.tool_position_m, self.scene.opening_m
        base, _ = self.scene.thing_pose(0)
        grip = base + np.array([0.0, 0.0, self._grip_m])
        near = np.linalg.norm(tool - grip) < 0.03
        if near and _HELD_OPENING_M[0] < opening < _HELD_OPENING_M[1]:
            release = np.array([*self.begin.tray_m, _TRAY_FLOOR_M + self._grip_m + 0.01])
            goal = _funnel(tool, release, _CARRY_M - release[2])
            if np.linalg.norm(tool - release) < 0.015:
                return np.float32([0, 0, 0, 0])
            return np.float32([*_cut(goal - tool), 1])
        if np.linalg.norm(tool - grip) < 0.012:
            return np.float32([0, 0, 0, 1])
        return np.float32([*_cut(_funnel(tool, grip, _HOVER_M) - tool), 0])

    # -- the rest --------------------------------------------------------------------------

    def close(self) -> None:
        """Free the renderer."""
        self.scene.close()

    def __enter__(self) -> PickTask:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _arrange(self) -> None:
        """Put everything where the layout has it; change light and mounting of the camera."""
        begin, scene = self.begin, self.scene
        model, rng = scene.model, np.random.default_rng([begin.seed, 1])
        model.body('tray').pos[:2] = begin.tray_m
        model.light_diffuse[:] *= rng.uniform(0.6, 1.3, (len(model.light_diffuse), 1))
        model.light_dir[:] += rng.uniform(-0.15, 0.15, model.light_dir.shape)
        model.vis.headlight.ambient[:] *= rng.uniform(0.7, 1.3)
        camera = model.camera(CAMERA)
        camera.pos[:] += rng.uniform(-0.004, 0.004, 3)
        camera.quat[:] += rng.uniform(-0.012, 0.012, 4)  # about 1.5 degrees
        camera.quat[:] /= np.linalg.norm(camera.quat)
        for thing, spot in zip(scene.things, (begin.cylinder_m, *begin.others_m), strict=True):
            first = model.joint(thing.name).qposadr[0]
            yaw = rng.uniform(-0.7, 0.7)
            half = np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)
            scene.data.qpos[first : first + 7] = [*spot, 0.001, *half]
        home = scene.tool_position_m
        for i in range(1, 51):  # which also lets the things come to rest
            at = home + i / 50 * np.array(begin.start_m)
            scene.step(self._command(at, self._yaw_rad, self._open_m))


def _cut(move_m: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a move in the same direction that is not too long."""
    return move_m * min(1.0, LARGEST_MOVE_M / max(1e-9, float(np.linalg.norm(move_m))))


def _funnel(
    tool: NDArray[np.float64], goal: NDArray[np.float64], over_m: float
) -> NDArray[np.float64]:
    """Return where to go now: over the goal first, then down to it."""
    aside = float(np.linalg.norm(tool[:2] - goal[:2]))
    height = goal[2] + np.clip(4 * (aside - 0.01), 0.0, over_m)
    if tool[2] < height - 0.04:
        return np.array([*tool[:2], height])  # up, before anything is knocked over
    return np.array([*goal[:2], height])

"""The comparison of a policy on features with one on pixels, from the episodes to the table."""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.feature_messages import encoder_info
from helpers.feature_messages import feature_tensor
from helpers.feature_messages import OTHER
from PIL import Image

from clone import episodes
from clone import heads
from clone import judge
from clone import report
from clone import task as tasks
from clone.__main__ import main
from clone.train import fit
from clone.train import fit_linear
from theia_ros.client import Inbox
from theia_ros.datatypes import Frame
from theia_ros.encoder import Encoder
from theia_ros.errors import ParameterError
from theia_ros.errors import ProvenanceError
from theia_ros.params import EncoderParams

ROOT = Path(__file__).parents[2]
HEADS = list(heads.HEADS)
MODEL = 'theia-tiny-patch16-224-cddsv'
SMALL = ['--episodes', '3', '--validation', '1', '--held-out', '2', '--seeds', '2']
SMALL += ['--updates', '8', '--batch', '4', '--model', MODEL, '--backend', 'fake']


class FlatTask:
    """The task without physics: the hand is where it was told to go, and drops nothing."""

    def __init__(self, begin: tasks.Layout) -> None:
        self.begin = begin
        self.tool = np.array([0.44, 0.0, 0.37]) + begin.start_m
        self.opening, self.held = 0.08, False
        self.thing = np.array([*begin.cylinder_m, 0.05])

    @property
    def lifted(self) -> bool:
        return bool(self.thing[2] > 0.1)

    @property
    def done(self) -> bool:
        return not self.held and np.allclose(self.thing[:2], self.begin.tray_m, atol=0.02)

    def picture(self) -> np.ndarray:
        """Return grey, with the thing in red, seen from the hand."""
        rgb = np.full((224, 224, 3), 60, np.uint8)
        row, column = (112 + 200 * (self.thing - self.tool)[:2]).astype(int).clip(8, 216)
        rgb[row - 8 : row + 8, column - 8 : column + 8] = 250, 20, 20
        return rgb

    def overview(self) -> np.ndarray:
        return self.picture()

    def state(self) -> np.ndarray:
        return np.float32([*self.tool, self.opening])

    def expert(self) -> np.ndarray:
        goal = np.array([*self.begin.tray_m, 0.2]) if self.held else self.thing
        move = goal - self.tool
        there = np.linalg.norm(move) < 0.01
        move *= min(1, tasks.LARGEST_MOVE_M / max(1e-9, np.linalg.norm(move)))
        return np.float32([*(move * (not there)), self.held != there])

    def act(self, action: np.ndarray) -> None:
        self.tool = self.tool + action[:3]
        self.opening = 0.05 if action[3] > 0.5 else 0.08
        near = np.linalg.norm(self.tool - self.thing) < 0.02
        self.held = bool(action[3] > 0.5 and (self.held or near))
        if self.held:
            self.thing = self.tool.copy()

    def close(self) -> None:
        pass


@pytest.fixture(scope='module', autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope='module')
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All steps, with few of everything; tests must not write into it."""
    folder = tmp_path_factory.mktemp('clone') / 'run'
    assert main(['--output', str(folder), *SMALL], FlatTask) == 0
    return folder


@pytest.fixture
def mine(small: Path, tmp_path: Path) -> Path:
    """A copy to write into."""
    return shutil.copytree(small, tmp_path / 'run')


def run(folder: Path, *arguments: str) -> int:
    return main(['--output', str(folder), *SMALL, *arguments], FlatTask)


# --- where things lie ----------------------------------------------------------------------------


def test_held_out_starts_are_in_cells_that_training_never_uses() -> None:
    cells = {}
    for split in tasks.SPLITS:
        spots = np.array([tasks.layout(split, i, 2).cylinder_m for i in range(300)])
        assert (spots >= tasks.AREA_M[0]).all()
        assert (spots < tasks.AREA_M[1]).all()
        found = np.floor((spots - tasks.AREA_M[0]) / tasks.CELL_M).astype(int)
        cells[split] = {tuple(cell) for cell in found.tolist()}
    assert {split: len(found) for split, found in cells.items()} == {
        'train': 21,
        'validation': 7,
        'held-out': 7,
    }
    assert len(set.union(*cells.values())) == 35


def test_no_start_of_training_is_near_a_held_out_one(small: Path) -> None:
    spots = {
        split: [
            np.array(one['cylinder_m']) for one in episodes.read_layouts(small / 'episodes', split)
        ]
        for split in tasks.SPLITS
    }
    assert [len(spots[split]) for split in tasks.SPLITS] == [3, 1, 2]
    for one, other in itertools.combinations(tasks.SPLITS, 2):
        for a, b in itertools.product(spots[one], spots[other]):
            assert np.linalg.norm(a - b) > 0.004


def test_a_layout_is_the_same_every_time_and_leaves_room() -> None:
    begin = tasks.layout('train', 7, 3)
    assert begin == tasks.layout('train', 7, 3)
    assert begin != tasks.layout('train', 8, 3)
    assert begin.cylinder_m != tasks.layout('validation', 7, 3).cylinder_m
    spots = np.array([begin.cylinder_m, *begin.others_m])
    assert spots.shape == (4, 2)
    for a, b in itertools.combinations(spots, 2):
        assert np.linalg.norm(a - b) > 0.11


# --- episodes ------------------------------------------------------------------------------------


def test_an_episode_holds_what_the_expert_saw_and_did(small: Path) -> None:
    with np.load(small / 'episodes' / 'held-out-0001.npz', allow_pickle=False) as file:
        episode = dict(file)
    begin = tasks.layout('held-out', 1, 2)
    kept = json.loads(str(episode['layout']))
    assert kept == json.loads(json.dumps(dataclasses.asdict(begin)))
    task, n = FlatTask(begin), len(episode['actions'])
    assert n > 5
    assert episode['pictures'].shape == (n, 224, 224, 3)
    assert episode['pictures'].dtype == np.uint8
    for picture, state, action in zip(
        episode['pictures'], episode['states'], episode['actions'], strict=True
    ):
        assert (picture == task.picture()).all()
        assert state.tolist() == task.state().tolist()
        assert action.tolist() == task.expert().tolist()
        task.act(action)
    assert task.done
    assert episode['done']


def test_in_training_the_hand_is_pushed_and_the_expert_corrects(small: Path) -> None:
    pushed = 0
    for path in (small / 'episodes').glob('train-*.npz'):
        with np.load(path) as file:
            states, actions = file['states'], file['actions']
        away = np.abs(np.diff(states[:, :3], axis=0) - actions[:-1, :3]).max(axis=1)
        still = ~actions[:-1, :3].any(axis=1)
        assert away[still] == pytest.approx(0, abs=1e-6)
        pushed += int((away > 1e-4).sum())
        assert np.linalg.norm(actions[:, :3], axis=1).max() <= tasks.LARGEST_MOVE_M + 1e-6
    assert pushed > 3


def test_features_are_those_of_the_encoder(small: Path) -> None:
    with np.load(small / 'episodes' / 'train-0002.npz') as file:
        pictures = file['pictures']
    with np.load(small / 'features' / 'train-0002.npz') as file:
        tokens = file['tokens']
    with Encoder(EncoderParams(model=MODEL, backend='fake')) as encoder:
        encoded = encoder.encode([Frame(pictures[3])], ['theia'])[0].features['theia']
        digest = encoder.provenance.recipe.digest
    assert tokens.shape == (len(pictures), 196, 192)
    assert (tokens[3] == np.float16(encoded.tokens)).all()
    assert episodes.read_origin(small / 'features' / 'train-0002.npz').digest == digest


def test_pixels_are_cut_like_the_patches_of_the_encoder() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), np.uint8)
    tokens = heads.pixel_tokens(pictures)
    assert tokens.shape == (2, 196, 768)
    assert (tokens[1, 14 * 2 + 5] == pictures[1, 32:48, 80:96].reshape(-1)).all()


def test_failed_episodes_are_kept_but_not_learned_from(mine: Path) -> None:
    path = mine / 'episodes' / 'train-0000.npz'
    before = episodes.read_examples(mine / 'episodes', mine / 'features', 'train')
    with np.load(path) as file:
        episode = dict(file)
    np.savez(path, **{**episode, 'done': np.bool_(False)})
    after = episodes.read_examples(mine / 'episodes', mine / 'features', 'train')
    assert len(before.states) - len(after.states) == len(episode['states'])
    assert [one['done'] for one in episodes.read_layouts(mine / 'episodes', 'train')] == [
        False,
        True,
        True,
    ]


# --- heads ---------------------------------------------------------------------------------------


def test_scales_make_mean_0_deviation_1_and_go_back() -> None:
    values = torch.randn(300, 5, 3, generator=torch.Generator().manual_seed(0)) * 7 + 40
    scale = heads.Scale(3)
    scale.fit(values.half())
    scaled = scale(values)
    assert scaled.mean(dim=(0, 1)).tolist() == pytest.approx([0] * 3, abs=2e-3)
    assert scaled.std(dim=(0, 1)).tolist() == pytest.approx([1] * 3, abs=2e-3)
    assert scale.back(scaled).numpy() == pytest.approx(values.numpy(), abs=1e-4)


def test_a_constant_channel_stays_finite() -> None:
    scale = heads.Scale(2)
    scale.fit(torch.tensor([[1.0, 5.0], [1.0, 7.0]]))
    assert scale(torch.tensor([1.0, 7.0])).tolist() == [0.0, 1.0]


@pytest.mark.parametrize('kind', heads.HEADS)
def test_actions_undo_the_scale_of_the_moves(kind: str) -> None:
    torch.manual_seed(0)
    tokens, states = torch.randn(6, 196, 5), torch.randn(6, 4)
    actions = torch.cat([0.01 * torch.randn(6, 3) + 0.02, torch.ones(6, 1)], dim=1)
    policy = heads.HEADS[kind](5).eval()
    policy.fit_scales(tokens, states, actions)
    raw = policy(tokens, states).detach()
    found = policy.actions(tokens, states)
    assert policy.of_move(found[:, :3]).numpy() == pytest.approx(raw[:, :3].numpy(), abs=1e-4)
    assert found[:, 3].tolist() == [float(value > 0) for value in raw[:, 3]]


def test_both_heads_differ_in_their_first_layer_only() -> None:
    features, pixels = heads.Head(192), heads.Head(768)
    sizes = [
        {name: p.shape for name, p in head.named_parameters() if name != 'project.weight'}
        for head in (features, pixels)
    ]
    assert sizes[0] == sizes[1]
    assert features.project.weight.shape == (48, 192)
    assert pixels.project.weight.shape == (48, 768)


def test_the_head_learns_where_something_is() -> None:
    """One bright token among noise; the move leads to its row and column."""
    rng = torch.Generator().manual_seed(0)
    tokens = 0.1 * torch.randn(400, 196, 6, generator=rng)
    where = torch.randint(196, (400,), generator=rng)
    tokens[torch.arange(400), where, 2] += 3
    move = torch.stack([where // 14, where % 14, torch.zeros(400)], dim=1) / 14
    states = torch.zeros(400, 4)
    actions = torch.cat([move, (where > 98).float()[:, None]], dim=1)
    scales = heads.Head(6)
    scales.fit_scales(tokens[:300], states[:300], actions[:300])
    learned, rest = (
        episodes.Examples(tokens[part], states[part], actions[part])
        for part in (slice(0, 300), slice(300, 400))
    )
    head, note = fit('features', 0, 3e-3, scales, learned, rest, 200, 64)
    found = judge.open_loop(head, rest)
    assert found['move_error_mm'] < 100  # of 1000; guessing the middle gives 380
    assert found['grip_right'] > 0.9
    assert note['validation_loss'] == min(row[2] for row in note['update_train_validation'])


def test_the_linear_head_finds_a_linear_rule() -> None:
    rng = torch.Generator().manual_seed(0)
    tokens, states = torch.randn(60, 196, 2, generator=rng), torch.randn(60, 4, generator=rng)
    actions = torch.cat([0.01 * states[:, :3], (states[:, 3:] > 0).float()], dim=1)
    parts = [
        episodes.Examples(tokens[a:b], states[a:b], actions[a:b]) for a, b in [(0, 40), (40, 60)]
    ]
    head, note = fit_linear(*parts)
    found = judge.open_loop(head, parts[1])
    assert found['move_error_mm'] < 5  # of 17 on average
    assert found['grip_right'] >= 0.9
    assert note['penalty'] in (1e-2, 1e-1, 1.0, 1e1, 1e2)


def test_a_head_keeps_what_it_was_trained_with(small: Path) -> None:
    paths = {kind: next((small / 'heads').glob(f'{kind}-*.safetensors')) for kind in HEADS}
    with Encoder(EncoderParams(model=MODEL, backend='fake')) as encoder:
        origin = heads.origin_of(encoder.provenance)
    for kind, path in paths.items():
        policy, setup = heads.load(path)
        assert setup['origin'] == (None if kind == 'pixels' else origin)
        assert (setup['cameras'], setup['tensor'], setup['window'].period_s) == (
            ['wrist'],
            'theia',
            0.25,
        )
        examples = episodes.read_examples(
            small / 'episodes', None if kind == 'pixels' else small / 'features', 'train'
        )
        assert policy.of_state.mean.numpy() == pytest.approx(
            examples.states.numpy().mean(axis=0), abs=1e-5
        )
        assert policy.of_move.std.numpy() == pytest.approx(
            examples.actions[:, :3].numpy().std(axis=0), abs=1e-5
        )


def test_a_head_acts_on_what_a_client_receives_and_on_nothing_else(small: Path) -> None:
    policy, setup = heads.load(next((small / 'heads').glob('features-seed0-*.safetensors')))
    inbox = Inbox(
        setup['cameras'],
        setup['window'],
        tensor=setup['tensor'],
        trained_with=setup['origin'],
        max_age_s=setup['max_age_s'],
    )
    with np.load(small / 'features' / 'held-out-0000.npz') as file:
        tokens = file['tokens']
    with np.load(small / 'episodes' / 'held-out-0000.npz') as file:
        states = file['states']
    digest = setup['origin'].digest
    inbox.put('wrist', feature_tensor(tokens[2], 100, (14, 14), provenance=digest), 200)
    received = torch.from_numpy(inbox.observe(300)['wrist'].tokens.copy())
    action = policy.actions(received[None], torch.from_numpy(states[2:3]))
    offline = policy.actions(torch.from_numpy(tokens), torch.from_numpy(states))
    assert action[0].numpy() == pytest.approx(offline[2].numpy(), abs=1e-6)

    inbox.learn(encoder_info(digest=OTHER, backend='openvino', precision='bf16'))
    inbox.put('wrist', feature_tensor(tokens[3], 400, (14, 14), provenance=OTHER), 500)
    with pytest.raises(ProvenanceError, match='backend is openvino, trained with fake'):
        inbox.observe(600)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        pytest.param(None, 'is no head of clone_policy: ', id='missing'),
        pytest.param(b'abc', 'is no head of clone_policy: ', id='no-safetensors'),
    ],
)
def test_what_is_no_head_is_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / 'head.safetensors'
    if content:
        path.write_bytes(content)
    with pytest.raises(ParameterError, match=message):
        heads.load(path)


# --- the command ---------------------------------------------------------------------------------


def test_results_add_up(small: Path) -> None:
    results = json.loads((small / 'results.json').read_text())
    assert list(results['results']) == HEADS
    for kind, seeds in {'features': 2, 'pixels': 2, 'linear': 1}.items():
        entry = results['results'][kind]
        assert [one['seed'] for one in entry['seeds']] == list(range(seeds))
        for one, success in zip(entry['seeds'], entry['success']['of_seeds'], strict=True):
            assert len(one['episodes']) == 2
            assert success == sum(episode['done'] for episode in one['episodes']) / 2
            for episode in one['episodes']:
                assert 1 <= episode['decisions'] <= tasks.MOST_DECISIONS
        assert entry['success']['mean'] == pytest.approx(np.mean(entry['success']['of_seeds']))
        errors = entry['move_error_mm']
        assert errors['mean'] == pytest.approx(np.mean(errors['of_seeds']), abs=1e-3)
        if seeds == 2:
            assert errors['std'] == pytest.approx(np.std(errors['of_seeds'], ddof=1), abs=1e-3)
    rates = {
        kind: results['results'][kind]['validation_loss_by_rate']
        for kind in ('features', 'pixels')
    }
    for kind, losses in rates.items():
        best = min(losses, key=losses.get)
        assert {f'{one["rate"]:g}' for one in results['results'][kind]['seeds']} == {best}
    assert results['data']['expert_done'] == {'train': 3, 'validation': 1, 'held-out': 2}
    assert results['data']['token_shape'] == [196, 192]
    assert results['origin']['backend'] == 'fake'
    assert results['settings']['updates'] == 8
    assert set(results['seconds']) >= {'record', 'encode', 'train features', 'evaluate pixels'}


def test_the_table_says_what_the_results_are(small: Path) -> None:
    results = json.loads((small / 'results.json').read_text())
    table = (small / 'table.md').read_text()
    assert table == report.table(results)
    lines = table.splitlines()
    assert len(lines) == 7
    assert lines[0].endswith('| lifted | in the tray |')
    assert lines[2].startswith('| always the mean move | ')
    errors = results['results']['pixels']['move_error_mm']
    assert lines[4].startswith('| same head on raw pixels | ')
    assert f'| {errors["mean"]:.1f} ± {errors["std"]:.1f} |' in lines[4]
    assert lines[6].startswith('| the expert | ')
    assert lines[6].endswith('| 100 % |')


def test_the_document_has_the_table_of_the_committed_results() -> None:
    results = json.loads((ROOT / 'docs' / 'results' / 'clone-policy-cpu.json').read_text())
    assert report.table(results) in (ROOT / 'docs' / 'policy-learning.md').read_text()


def test_without_play_there_are_no_successes(mine: Path) -> None:
    for path in (mine / 'evaluations').glob('*-played.json'):
        path.unlink()
    assert run(mine, 'report') == 0
    results = json.loads((mine / 'results.json').read_text())
    assert all('success' not in entry for entry in results['results'].values())
    lines = (mine / 'table.md').read_text().splitlines()
    assert lines[0] == '| policy | parameters | error of a move, mm | grip right |'
    assert len(lines) == 6
    with Image.open(mine / 'filmstrip.jpg') as picture:
        assert picture.size == (8 * 153 - 3, 175)


def test_who_guesses_is_as_far_as_the_mean_move() -> None:
    train = torch.tensor([[0.02, 0.0, 0.0, 1.0], [0.04, 0.0, 0.0, 1.0]])
    wanted = torch.tensor([[0.03, 0.04, 0.0, 1.0], [0.03, 0.0, 0.0, 0.0]])
    found = judge.guess(train, wanted)
    assert (found['move_error_mm'], found['grip_right']) == (20.0, 0.5)
    assert found['first_errors_mm'] == [40.0, 0.0]


def test_the_filmstrip_shows_the_expert_and_a_row_for_each_head(small: Path) -> None:
    with Image.open(small / 'filmstrip.jpg') as picture:
        assert picture.format == 'JPEG'
        rows = np.asarray(picture)
    assert rows.shape == (4 * 175, 8 * 153 - 3, 3)
    for row in range(1, 4):
        tile = rows[row * 175 + 22 : row * 175 + 172, :150]
        assert tile.mean() == pytest.approx(62, abs=8)  # grey, with little red


def test_what_is_done_is_not_done_again(mine: Path) -> None:
    made = [p for p in mine.rglob('*') if p.suffix in ('.npz', '.safetensors')]
    before = {path: path.stat().st_mtime_ns for path in made}
    lost = mine / 'episodes' / 'train-0001.npz'
    content = lost.read_bytes()
    lost.unlink()
    (mine / 'evaluations' / 'pixels-1.json').unlink()
    (mine / 'evaluations' / 'pixels-1-played.json').unlink()
    assert run(mine) == 0
    after = {path: path.stat().st_mtime_ns for path in before}
    assert {path for path in before if before[path] != after[path]} == {lost}
    assert lost.read_bytes() == content
    assert (mine / 'evaluations' / 'pixels-1.json').exists()
    assert (mine / 'evaluations' / 'pixels-1-played.json').exists()


def test_the_same_seed_gives_the_same_head(mine: Path) -> None:
    path = next((mine / 'heads').glob('pixels-seed1-*.safetensors'))
    before, setup = heads.load(path)
    path.unlink()
    path.with_suffix('.json').unlink()
    assert run(mine, 'train') == 0
    after, setup_after = heads.load(path)
    assert setup == setup_after
    for name, tensor in before.state_dict().items():
        assert torch.equal(tensor, after.state_dict()[name]), name


def test_other_settings_want_another_folder(
    mine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(mine, '--updates', '9') == 2
    assert capsys.readouterr().err == (
        f'clone_policy: {mine} was begun with --updates 8, found 9; '
        'give the same, or another --output\n'
    )


@pytest.mark.parametrize(('step', 'end'), [('evaluate', ''), ('play', '-played')])
def test_features_of_another_encoder_are_refused(
    mine: Path, capsys: pytest.CaptureFixture[str], step: str, end: str
) -> None:
    for path in (mine / 'heads').glob('features-*.safetensors'):
        policy, setup = heads.load(path)
        other = dataclasses.replace(setup['origin'], digest='0' * 64, precision='bf16')
        heads.save(path, 'features', policy, other)
    (mine / 'evaluations' / f'features-0{end}.json').unlink()
    assert run(mine, step) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.endswith(
        'is of other features than the encoder gives: precision is fp32, trained with bf16'
    )


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        pytest.param(['drive'], "unknown step 'drive'; expected record, train", id='unknown-step'),
        pytest.param(['train'], 'no train episode in ', id='train-before-record'),
        pytest.param(['evaluate'], 'run the step train first', id='evaluate-before-train'),
        pytest.param(['report'], 'run the step train first', id='report-before-train'),
    ],
)
def test_mistakes_end_with_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert run(tmp_path / 'new', *arguments) == 2
    line = capsys.readouterr().err
    assert line.startswith('clone_policy: ')
    assert message in line
    assert line.count('\n') == 1


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(['--help'])
    assert caught.value.code == 0
    assert '  scripts/clone_policy --output clone  ' in capsys.readouterr().out


# --- the simulator -------------------------------------------------------------------------------

_MISSING = [name for name in ('mujoco', 'robosuite') if not importlib.util.find_spec(name)]
simulator = pytest.mark.skipif(
    bool(_MISSING),
    # robosuite can only be had without its dependencies, so no extra of setup.cfg brings it.
    reason=f'needs {" and ".join(_MISSING)}; scripts/clone_policy --help says how to install',
)


@simulator
@pytest.mark.parametrize('split', tasks.SPLITS)
def test_the_expert_brings_the_cylinder_into_the_tray(split: str) -> None:
    begin = tasks.layout(split, 0, 2)
    with tasks.PickTask(begin) as task:
        base, _ = task.scene.thing_pose(0)
        assert base[:2] == pytest.approx(begin.cylinder_m, abs=0.005)
        assert not task.done
        found = judge.play(task, lambda task: task.expert(), film := [])
        assert found['done']
        assert found['lifted']
        assert 10 < found['decisions'] < 30
        base, _ = task.scene.thing_pose(0)
        assert base[:2] == pytest.approx(begin.tray_m, abs=0.05)
        assert film[0].shape == (224, 224, 3)


@simulator
def test_a_hand_that_rests_does_nothing() -> None:
    with tasks.PickTask(tasks.layout('train', 1, 0)) as task:
        before = task.state()
        found = judge.play(task, lambda task: np.zeros(4), None)
        assert found == {'done': False, 'lifted': False, 'decisions': tasks.MOST_DECISIONS}
        assert task.state() == pytest.approx(before, abs=0.005)


@simulator
def test_scenes_look_different_and_the_same_one_the_same() -> None:
    pictures = []
    for index in (0, 0, 1):
        with tasks.PickTask(tasks.layout('train', index, 2)) as task:
            pictures.append(task.picture().astype(float))
    assert np.abs(pictures[0] - pictures[1]).max() <= 1
    assert np.abs(pictures[0] - pictures[2]).mean() > 20

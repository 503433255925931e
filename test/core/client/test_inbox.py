"""Messages in, observations out, and why there are none."""

from __future__ import annotations

import array
import math
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.feature_messages import DIGEST
from helpers.feature_messages import encoder_info
from helpers.feature_messages import header
from helpers.feature_messages import numbered
from helpers.feature_messages import OTHER
from hypothesis import given
from hypothesis import HealthCheck
from hypothesis import settings
from hypothesis import strategies as st

from theia_ros.client import Inbox
from theia_ros.client import Origin
from theia_ros.client import Window
from theia_ros.errors import FeatureError
from theia_ros.errors import GapError
from theia_ros.errors import ParameterError
from theia_ros.errors import ProvenanceError
from theia_ros.errors import StaleError

MS = 1_000_000
TRAINED = Origin.of(encoder_info())


def put(inbox: Inbox, camera: str, stamp_ms: int, **changes: object) -> str:
    """Give features whose numbers are their stamp, 40 ms after it."""
    msg = numbered(stamp_ms, stamp_ms * MS, **changes)
    return inbox.put(camera, msg, (stamp_ms + 40) * MS)


def joints(stamp_ms: int, *positions: float) -> SimpleNamespace:
    return SimpleNamespace(header=header(stamp_ms * MS), position=array.array('d', positions))


def number_of(found) -> float:
    return float(found.tokens[0, 0])


# --- which instant -------------------------------------------------------------------------------


def test_the_newest_of_one_camera() -> None:
    inbox = Inbox('front')
    for stamp in (100, 133, 166):
        assert put(inbox, 'front', stamp) == ''
    found = inbox.observe(300 * MS)
    assert number_of(found['front']) == 166
    assert found.stamp_ns == 166 * MS
    assert found.age_s == pytest.approx(0.134)
    assert found.latency_s == pytest.approx(0.040)


def test_the_instant_is_what_all_cameras_have_reached() -> None:
    inbox = Inbox(['front', 'wrist'])
    for stamp in (100, 133, 166, 199):
        put(inbox, 'front', stamp)
    assert inbox.instant_ns is None
    put(inbox, 'wrist', 150)
    found = inbox.observe(200 * MS)
    # 166 and 199 are in the future of 150.
    assert found.stamp_ns == 150 * MS
    assert (number_of(found['front']), number_of(found['wrist'])) == (133, 150)


def test_what_is_seen_live_is_what_a_recording_gives() -> None:
    """Whatever was there already when it was asked for, the same instant has the same items."""
    window = Window(steps=3, period_s=0.05, max_gap_s=0.04)
    front, wrist = range(0, 900, 33), range(7, 900, 50)
    sent = [*(('front', stamp) for stamp in front), *(('wrist', stamp) for stamp in wrist)]
    sent.sort(key=lambda pair: pair[1])
    live, recorded = Inbox(['front', 'wrist'], window), Inbox(['front', 'wrist'], window)
    seen = {}
    for camera, stamp in sent:
        put(live, camera, stamp)
        if live.instant_ns is not None and live.instant_ns > 200 * MS:
            found = live.observe(live.instant_ns)
            seen[found.stamp_ns] = [found.stack(c).tolist() for c in ('front', 'wrist')]
    assert len(seen) > 20
    # The other camera first, by as much as one may be late.
    for camera, stamp in sorted(sent, key=lambda pair: pair[1] + 90 * (pair[0] == 'front')):
        put(recorded, camera, stamp)
        if recorded.instant_ns in seen:
            found = recorded.observe(recorded.instant_ns)
            again = [found.stack(c).tolist() for c in ('front', 'wrist')]
            assert again == seen[recorded.instant_ns], recorded.instant_ns


def test_history_reaches_back_as_far_as_the_window() -> None:
    inbox = Inbox('front', Window(steps=4, period_s=0.1, max_gap_s=0.033, gaps='fail'))
    for stamp in range(0, 100_000, 33):
        put(inbox, 'front', stamp)
    newest = stamp
    found = inbox.observe((newest + 499) * MS)
    instants = [newest - 300, newest - 200, newest - 100, newest]
    wanted = [max(s for s in range(0, 100_000, 33) if s <= i) for i in instants]
    assert found.stack('front')[:, 0, 0].tolist() == wanted


def test_memory_is_bounded_by_the_window() -> None:
    inbox = Inbox('front', Window(steps=2, period_s=0.1), max_age_s=0.2)
    inbox.follow('joints', lambda msg: msg.position)
    for stamp in range(0, 100_000, 10):
        put(inbox, 'front', stamp)
        inbox.put_followed('joints', joints(stamp, 1.0), 0)
    assert len(inbox._cameras['front']) <= 32
    assert len(inbox._followed['joints'].track) <= 32


# --- age -----------------------------------------------------------------------------------------


def test_nothing_has_come() -> None:
    inbox = Inbox(['front', 'wrist', 'rear'])
    put(inbox, 'wrist', 100)
    with pytest.raises(StaleError, match='no features of front, rear have come') as caught:
        inbox.observe(0)
    assert caught.value.silent == ('front', 'rear')


def test_old_features_are_handed_out_no_more() -> None:
    inbox = Inbox(['front', 'wrist'], max_age_s=0.2)
    put(inbox, 'front', 970)
    put(inbox, 'front', 1000)
    put(inbox, 'wrist', 980)
    assert inbox.observe(1180 * MS).age_s == 0.2
    with pytest.raises(
        StaleError,
        match=r'^the newest features of wrist are 0\.20 s old; expected 0\.2 s or less$',
    ):
        inbox.observe(1181 * MS)
    put(inbox, 'wrist', 1001)
    assert inbox.observe(1181 * MS).stamp_ns == 1000 * MS


def test_a_clock_that_is_far_behind_is_told() -> None:
    """As with use_sim_time, and nobody who publishes /clock."""
    inbox = Inbox('front')
    put(inbox, 'front', 5000)
    with pytest.raises(StaleError, match=r'5\.00 s ahead of the clock, which is at 0\.00 s'):
        inbox.observe(0)
    assert inbox.observe(4900 * MS).age_s == pytest.approx(-0.1)


def test_a_camera_whose_clock_is_ahead_of_the_others() -> None:
    inbox = Inbox(['front', 'wrist'])
    put(inbox, 'front', 1000)
    put(inbox, 'wrist', 9000)
    with pytest.raises(StaleError, match=r'wrist begins 8\.00 s after the newest instant'):
        inbox.observe(1000 * MS)


def test_stamps_that_jump_back_begin_anew() -> None:
    inbox = Inbox('front', Window(steps=2, period_s=0.1))
    for stamp in (9000, 9100, 100):
        put(inbox, 'front', stamp)
    found = inbox.observe(150 * MS)
    assert found.stack('front')[:, 0, 0].tolist() == [100, 100]
    assert found.valid('front').tolist() == [False, True]


def test_forgetting_begins_anew_but_keeps_what_is_said_once() -> None:
    inbox = Inbox('front')
    inbox.follow('joints', lambda msg: msg.position)
    inbox.follow('task', lambda msg: msg.data, max_gap_s=math.inf)
    inbox.put_followed('task', SimpleNamespace(data=7), 9000 * MS)
    inbox.put_followed('joints', joints(9000, 0.5), 0)
    put(inbox, 'front', 9000)
    assert inbox.observe(9000 * MS)['task'] == 7

    inbox.forget()
    with pytest.raises(StaleError, match='no features of front have come'):
        inbox.observe(100 * MS)
    put(inbox, 'front', 100)
    with pytest.raises(StaleError, match='nothing of joints has come'):
        inbox.observe(100 * MS)
    inbox.put_followed('joints', joints(99, 0.25), 0)
    found = inbox.observe(100 * MS)
    assert (found['task'], found['joints'].tolist()) == (7, [0.25])


# --- gaps ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('gaps', 'numbers', 'valid'),
    [
        ('hold', [100, 100, 300], [True, False, True]),
        ('mask', [100, 0, 300], [True, False, True]),
    ],
)
def test_a_gap_in_the_history(gaps: str, numbers: list, valid: list) -> None:
    inbox = Inbox('front', Window(steps=3, period_s=0.1, max_gap_s=0.05, gaps=gaps))
    put(inbox, 'front', 100)
    put(inbox, 'front', 300)
    found = inbox.observe(300 * MS)
    assert found.stack('front')[:, 0, 0].tolist() == numbers
    assert found.valid('front').tolist() == valid


def test_a_gap_that_is_not_allowed() -> None:
    inbox = Inbox('front', Window(steps=3, period_s=0.1, max_gap_s=0.05, gaps='fail'))
    put(inbox, 'front', 100)
    put(inbox, 'front', 300)
    with pytest.raises(GapError, match=r'front has a gap 0\.100 s before the newest instant'):
        inbox.observe(300 * MS)


# --- other topics --------------------------------------------------------------------------------


def test_joint_states_are_those_of_the_picture_and_not_of_later() -> None:
    inbox = Inbox('front', Window(steps=2, period_s=0.1))
    inbox.follow('joints', lambda msg: msg.position)
    for stamp in range(0, 1100, 10):
        inbox.put_followed('joints', joints(stamp, stamp / 1000), (stamp + 1) * MS)
    put(inbox, 'front', 905)
    put(inbox, 'front', 1004)
    found = inbox.observe(1100 * MS)
    assert found['joints'].tolist() == [1.0]
    assert found.stack('joints').tolist() == [[0.9], [1.0]]
    assert found.series['joints'].stamps_ns == (900 * MS, 1000 * MS)


def test_joint_states_of_two_publishers_may_be_a_little_out_of_order() -> None:
    inbox = Inbox('front')
    inbox.follow('joints', lambda msg: msg.position)
    for stamp in (100, 130, 110, 140, 120):
        inbox.put_followed('joints', joints(stamp, stamp), 0)
    put(inbox, 'front', 125)
    assert inbox.observe(125 * MS)['joints'].tolist() == [120]


def test_joint_states_that_stand_still_are_stale_even_if_gaps_are_held() -> None:
    inbox = Inbox('front', max_age_s=0.3)
    inbox.follow('joints', lambda msg: msg.position)
    inbox.put_followed('joints', joints(1000, 1.0), 0)
    put(inbox, 'front', 1300)
    assert inbox.observe(1300 * MS).valid('joints').tolist() == [False]
    put(inbox, 'front', 1301)
    with pytest.raises(
        StaleError, match=r'newest of joints is 0\.30 s older than the features; expected 0\.3 s'
    ):
        inbox.observe(1301 * MS)


def test_joint_states_that_begin_late() -> None:
    inbox = Inbox('front')
    inbox.follow('joints', lambda msg: msg.position)
    put(inbox, 'front', 1000)
    inbox.put_followed('joints', joints(1001, 1.0), 0)
    with pytest.raises(StaleError, match=r'joints begins 0\.00 s after the newest instant'):
        inbox.observe(1001 * MS)


def test_a_topic_has_a_gap_limit_of_its_own() -> None:
    inbox = Inbox('front', Window(max_gap_s=0.2, gaps='fail'))
    inbox.follow('slow', lambda msg: msg.position, max_gap_s=2.0)
    inbox.put_followed('slow', joints(1000, 1.0), 0)
    put(inbox, 'front', 3000)
    assert inbox.observe(3000 * MS).valid('slow').tolist() == [True]
    put(inbox, 'front', 3001)
    with pytest.raises(GapError, match=r'slow has a gap .* max_gap_s is 2'):
        inbox.observe(3001 * MS)


def test_a_message_without_a_header_counts_from_when_it_came() -> None:
    inbox = Inbox('front')
    inbox.follow('command', lambda msg: msg.data)
    inbox.put_followed('command', SimpleNamespace(data=[1.0]), 100 * MS)
    inbox.put_followed('command', SimpleNamespace(data=[2.0]), 200 * MS)
    put(inbox, 'front', 199)
    assert inbox.observe(199 * MS)['command'].tolist() == [1.0]


def test_a_reader_that_fails_costs_its_messages_and_nothing_else() -> None:
    inbox = Inbox('front')
    inbox.follow('joints', lambda msg: [msg.position[1]])
    inbox.put_followed('joints', joints(100, 1.0, 2.0), 0)
    line = inbox.put_followed('joints', joints(110, 1.0), 0)
    assert line.startswith('joints is ignored where its reader fails: IndexError: ')
    assert inbox.put_followed('joints', joints(120, 1.0), 0) == ''
    put(inbox, 'front', 130)
    assert inbox.observe(130 * MS)['joints'].tolist() == [2.0]
    counts = inbox.counts['joints']
    assert (counts.received, counts.taken, counts.malformed) == (3, 1, {'reader': 2})


def test_an_error_of_a_reader_stays_on_one_line() -> None:
    def read(msg):
        raise ValueError('one\ntwo')

    inbox = Inbox('front')
    inbox.follow('joints', read)
    line = inbox.put_followed('joints', joints(100), 0)
    assert line == 'joints is ignored where its reader fails: ValueError: one two'


def test_a_reader_whose_value_is_no_array_costs_its_messages_and_nothing_else() -> None:
    inbox = Inbox('front')
    inbox.follow('joints', lambda msg: [[1.0], [1.0, 2.0]])
    line = inbox.put_followed('joints', joints(100), 0)
    assert line.startswith('joints is ignored where its reader fails: ValueError: ')
    assert inbox.counts['joints'].malformed == {'reader': 1}


def test_a_reader_may_skip_messages() -> None:
    inbox = Inbox('front')
    inbox.follow('joints', lambda msg: msg.position if len(msg.position) == 2 else None)
    assert inbox.put_followed('joints', joints(100, 1.0), 0) == ''
    inbox.put_followed('joints', joints(110, 1.0, 2.0), 0)
    counts = inbox.counts['joints']
    assert (counts.received, counts.taken, counts.skipped) == (2, 1, 1)


def test_values_of_another_shape_are_ignored() -> None:
    inbox = Inbox('front')
    inbox.follow('joints', lambda msg: msg.position)
    inbox.put_followed('joints', joints(100, 1.0, 2.0), 0)
    line = inbox.put_followed('joints', joints(110, 1.0), 0)
    assert line == 'joints is ignored where its values are [1], and were [2] before'
    assert inbox.counts['joints'].malformed == {'shape': 1}


# --- provenance ----------------------------------------------------------------------------------


@pytest.mark.parametrize('trained_with', [TRAINED, DIGEST], ids=['origin', 'digest'])
def test_features_like_those_of_the_training_are_taken(trained_with) -> None:
    inbox = Inbox('front', trained_with=trained_with)
    assert put(inbox, 'front', 100) == ''
    assert number_of(inbox.observe(100 * MS)['front']) == 100
    assert inbox.origin.digest == DIGEST


def test_others_are_refused_and_the_fields_are_named() -> None:
    inbox = Inbox('front', trained_with=TRAINED)
    inbox.learn(encoder_info(digest=OTHER, precision='bf16', backend='openvino'))
    line = put(inbox, 'front', 100, provenance=OTHER)
    expected = (
        'provenance is cdcdcdcdcdcd, trained with abababababab: backend is openvino, trained with '
        'torch; precision is bf16, trained with fp32'
    )
    assert line == f'features are refused: {expected}'
    with pytest.raises(ProvenanceError) as caught:
        inbox.observe(100 * MS)
    assert str(caught.value) == f'features of front are refused: {expected}'
    assert put(inbox, 'front', 133, provenance=OTHER) == '', 'told twice'
    counts = inbox.counts['front']
    assert (counts.received, counts.taken, counts.refused) == (2, 0, 2)


def test_what_differs_is_told_as_soon_as_the_encoder_tells_it() -> None:
    inbox = Inbox('front', trained_with=TRAINED)
    assert 'no encoder has told yet' in put(inbox, 'front', 100, provenance=OTHER)
    assert inbox.learn(encoder_info()) == ''
    assert 'precision is bf16' in inbox.learn(encoder_info(digest=OTHER, precision='bf16'))
    with pytest.raises(ProvenanceError, match='precision is bf16'):
        inbox.observe(100 * MS)


def test_refused_messages_count_once_it_is_known_what_differs() -> None:
    inbox = Inbox('front', trained_with=TRAINED)
    put(inbox, 'front', 100, provenance=OTHER)
    assert (inbox.refused, inbox.refusal is None) == (0, False)
    inbox.learn(encoder_info(digest=OTHER, precision='bf16'))
    assert inbox.refused == 1
    assert 'precision is bf16' in str(inbox.refusal)
    put(inbox, 'front', 133)
    assert inbox.refusal is None


def test_one_refused_camera_stops_the_policy() -> None:
    """The features that were taken before may not be handed out as if nothing had happened."""
    inbox = Inbox(['front', 'wrist'], trained_with=TRAINED)
    put(inbox, 'front', 100)
    put(inbox, 'wrist', 100)
    put(inbox, 'wrist', 133, provenance=OTHER)
    put(inbox, 'front', 133)
    with pytest.raises(ProvenanceError, match='features of wrist are refused'):
        inbox.observe(133 * MS)


def test_the_right_encoder_again_goes_on_and_a_second_refusal_is_told_again() -> None:
    inbox = Inbox('front', Window(steps=2, period_s=0.1), trained_with=TRAINED)
    put(inbox, 'front', 100)
    assert put(inbox, 'front', 150, provenance=OTHER)
    assert put(inbox, 'front', 200) == ''
    found = inbox.observe(200 * MS)
    assert found.stack('front')[:, 0, 0].tolist() == [100, 200]
    assert put(inbox, 'front', 250, provenance=OTHER)


def test_without_a_training_any_provenance_is_taken_but_never_mixed() -> None:
    inbox = Inbox(['front', 'wrist'], Window(steps=2, period_s=0.1))
    for stamp in (100, 200):
        put(inbox, 'front', stamp)
        put(inbox, 'wrist', stamp)
    line = put(inbox, 'front', 300, provenance=OTHER)
    assert line == 'features are made otherwise from now on: cdcdcdcdcdcd, not abababababab'
    with pytest.raises(StaleError, match='no features of wrist have come'):
        inbox.observe(300 * MS)
    put(inbox, 'wrist', 300, provenance=OTHER)
    assert inbox.observe(300 * MS).stack('front')[:, 0, 0].tolist() == [300, 300]


def test_the_origin_is_told_as_far_as_it_is_known() -> None:
    inbox = Inbox('front')
    assert inbox.origin is None
    put(inbox, 'front', 100)
    assert inbox.origin == Origin(DIGEST)
    inbox.learn(encoder_info())
    assert inbox.origin == TRAINED
    put(inbox, 'front', 133, provenance='no digest')
    assert inbox.origin is None


def test_infos_do_not_pile_up() -> None:
    inbox = Inbox('front')
    for number in range(1000):
        inbox.learn(encoder_info(digest=f'{number:064x}'))
    assert len(inbox._origins) == 16


def test_texts_of_strangers_stay_on_one_line() -> None:
    inbox = Inbox('front', trained_with=TRAINED)
    inbox.learn(encoder_info(digest=OTHER, backend='a\nb' * 99))
    assert 'provenance is a b, trained with ab' in put(inbox, 'front', 100, provenance='a\nb')
    line = put(inbox, 'front', 133, provenance=OTHER)
    assert 'backend is a ba b' in line
    assert (len(line) < 250, '\n' in line) == (True, False)


def test_an_info_without_a_digest_is_told_once() -> None:
    inbox = Inbox('front')
    assert inbox.learn(encoder_info(digest='')).startswith(
        "an EncoderInfo is ignored: a digest is ''"
    )
    assert inbox.learn(encoder_info(digest='')) == ''


# --- what is malformed ---------------------------------------------------------------------------


def test_malformed_messages_are_counted_by_reason_and_told_once() -> None:
    inbox = Inbox(['front', 'wrist'])
    line = put(inbox, 'front', 100, shape=[3, 2])
    assert line == 'front: features are ignored: data has 8 bytes; float32 of shape [3, 2] has 24'
    assert put(inbox, 'front', 133, shape=[3, 2]) == ''
    assert 'dtype is 9' in put(inbox, 'front', 166, dtype=9)
    assert put(inbox, 'wrist', 100, shape=[3, 2]).startswith('wrist: ')
    counts = inbox.counts['front']
    assert (counts.received, counts.taken, counts.malformed) == (3, 0, {'size': 2, 'dtype': 1})
    with pytest.raises(StaleError):
        inbox.observe(100 * MS)


def test_good_messages_between_malformed_ones_are_handed_out() -> None:
    inbox = Inbox('front')
    put(inbox, 'front', 100)
    put(inbox, 'front', 133, data=array.array('B'))
    assert number_of(inbox.observe(140 * MS)['front']) == 100


def test_the_tensor_must_be_the_one_that_was_asked_for() -> None:
    inbox = Inbox('front', tensor='clip')
    assert "the tensor is 'theia'; expected 'clip'" in put(inbox, 'front', 100)
    assert put(inbox, 'front', 133, name='clip') == ''


def test_one_provenance_has_one_shape() -> None:
    inbox = Inbox('front')
    put(inbox, 'front', 100)
    values = np.zeros((2, 2), np.float32)
    line = put(inbox, 'front', 133, shape=[2, 2], data=array.array('B', values.tobytes()))
    assert 'shape is [2, 2], and was [1, 2] before' in line
    assert inbox.counts['front'].malformed == {'shape': 1}


UINT32 = st.integers(0, 2**32 - 1)


@st.composite
def messages(draw):
    """Features whose fields fit each other, or nearly, or not at all."""
    shape = draw(
        st.lists(st.integers(0, 4), min_size=2, max_size=2) | st.lists(UINT32, max_size=3)
    )
    dtype = draw(st.sampled_from((1, 2, 3)) | st.integers(0, 255))
    fits = math.prod(shape) * {1: 4, 2: 2, 3: 2}.get(dtype, 1)
    size = draw(st.just(min(fits, 4096)) | st.integers(0, 300))
    side = st.integers(0, 4) | UINT32
    return SimpleNamespace(
        header=SimpleNamespace(
            stamp=SimpleNamespace(
                sec=draw(st.integers(-(2**31), 2**31 - 1)), nanosec=draw(UINT32)
            ),
            frame_id=draw(st.text(max_size=9)),
        ),
        model=draw(st.text(max_size=9)),
        name=draw(st.just('theia') | st.text(max_size=60)),
        provenance=draw(st.just(DIGEST) | st.text(max_size=80)),
        dtype=dtype,
        shape=array.array('I', shape),
        grid_height=draw(side),
        grid_width=draw(side),
        region=SimpleNamespace(
            x_offset=draw(UINT32), y_offset=draw(UINT32), height=draw(side), width=draw(side)
        ),
        data=array.array('B', bytes(size)),
    )


# No limits of time: a busy machine is no fault.
@settings(
    deadline=None, database=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
@given(st.lists(messages(), max_size=4), st.sampled_from([None, TRAINED]))
def test_whatever_comes_the_policy_gets_an_observation_or_a_reason(sent, trained_with) -> None:
    inbox = Inbox('front', Window(steps=2, gaps='mask'), trained_with=trained_with)
    for msg in sent:
        line = inbox.put('front', msg, 0)
        assert len(line.splitlines()) <= 1
        assert len(line) < 300
    counts = inbox.counts['front']
    assert counts.received == counts.taken + counts.refused + counts.malformed.total() == len(sent)
    if counts.taken and not inbox.refusal:
        found = inbox.observe(inbox.instant_ns)
        assert found.stack('front').shape == (2, *found['front'].shape)
        assert found['front'].float32().tokens.dtype == np.float32
    else:
        with pytest.raises(FeatureError) as caught:
            inbox.observe(0)
        assert len(str(caught.value).splitlines()) == 1


# --- what makes no sense -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (lambda: Inbox([]), r'cameras are \[\]; expected one or more'),
        (lambda: Inbox(['a', 'a']), r"cameras are \['a', 'a'\]; expected .* each once"),
        (lambda: Inbox('a', max_age_s=0), 'max_age_s is 0; expected more than 0'),
        (lambda: Inbox('a', max_age_s=math.inf), 'max_age_s is inf'),
        (lambda: Inbox('a', trained_with='theia'), "a digest is 'theia'"),
        (lambda: Inbox('a').follow('a', len), "already something called 'a'"),
        (lambda: Inbox('a').follow('b', len, -1.0), r'max_gap_s is -1\.0'),
    ],
)
def test_mistakes(make, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        make()


def test_all_that_observe_raises_is_one_error() -> None:
    assert issubclass(StaleError, FeatureError)
    assert issubclass(GapError, FeatureError)
    assert issubclass(ProvenanceError, FeatureError)

"""What features are made with, and what differs."""

from __future__ import annotations

import json

import pytest
from helpers.feature_messages import DIGEST
from helpers.feature_messages import encoder_info
from helpers.feature_messages import OTHER

from theia_ros.client.origin import mismatch
from theia_ros.client.origin import Origin
from theia_ros.errors import ParameterError

TRAINED = Origin.of(encoder_info())


def test_fields_are_those_of_the_message() -> None:
    assert (
        Origin(
            digest=DIGEST,
            model='tiny',
            revision='main',
            weights_sha256='12' * 32,
            preprocessing='official',
            reduction='none',
            token_layout='cls, 14x14 patches row by row',
            backend='torch',
            precision='fp32',
            version='0.1.0',
        )
        == TRAINED
    )


def test_json_and_back() -> None:
    assert Origin.from_json(TRAINED.to_json()) == TRAINED
    assert '\n' not in TRAINED.to_json()
    assert Origin.from_json(json.dumps({'digest': DIGEST})) == Origin(DIGEST)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('{', 'is no JSON'),
        ('[]', r"is '\[\]'; expected an object of texts named backend, digest"),
        ('{"digets": "1"}', 'expected an object of texts'),
        ('{"digest": 3}', 'expected an object of texts'),
        ('{}', 'has no digest'),
        ('{"digest": "AB"}', "a digest is 'AB'; expected 64 lower-case hexadecimal"),
    ],
)
def test_other_json_is_refused(text: str, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        Origin.from_json(text)


@pytest.mark.parametrize(
    ('changes', 'expected'),
    [
        pytest.param({}, (), id='the same'),
        pytest.param(
            {'precision': 'bf16'}, ('precision is bf16, trained with fp32',), id='precision'
        ),
        pytest.param(
            {'backend': 'openvino', 'precision': 'bf16'},
            ('backend is openvino, trained with torch', 'precision is bf16, trained with fp32'),
            id='backend and precision',
        ),
        pytest.param(
            {'weights_sha256': '34' * 32, 'model': 'small'},
            (
                'model is small, trained with tiny',
                'weights_sha256 is 343434343434, trained with 121212121212',
            ),
            id='weights',
        ),
        pytest.param({'model': '/another/folder'}, (), id='the same weights by another name'),
        pytest.param({'revision': 'v2', 'versions': []}, (), id='what is only for people'),
        pytest.param({'backend': ''}, (), id='not told'),
    ],
)
def test_differences_name_the_fields(
    changes: dict[str, object], expected: tuple[str, ...]
) -> None:
    assert Origin.of(encoder_info(**changes)).differences(TRAINED) == expected


def test_mismatch_names_digests_and_fields() -> None:
    found = Origin.of(encoder_info(digest=OTHER, precision='bf16'))
    assert mismatch(TRAINED, OTHER, {OTHER: found}) == (
        'provenance is cdcdcdcdcdcd, trained with abababababab: '
        'precision is bf16, trained with fp32'
    )


def test_mismatch_before_the_encoder_has_told() -> None:
    assert 'no encoder has told yet what differs' in mismatch(TRAINED, OTHER, {DIGEST: TRAINED})
    assert 'provenance is empty, trained with ab' in mismatch(TRAINED, '', {})


def test_mismatch_where_only_the_digest_of_the_training_is_known() -> None:
    found = Origin.of(encoder_info(digest=OTHER))
    line = mismatch(Origin(DIGEST), OTHER, {OTHER: found})
    assert 'they are of tiny, official, none, torch, fp32; of the training only' in line


def test_mismatch_of_nothing_but_the_arithmetic() -> None:
    found = Origin.of(encoder_info(digest=OTHER, versions=['theia_ros=0.2.0']))
    line = mismatch(TRAINED, OTHER, {OTHER: found})
    assert 'the version of the arithmetic; theia_ros is 0.2.0, trained with 0.1.0' in line

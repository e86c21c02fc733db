from __future__ import annotations

import json

import pytest
from twinlens.contract.manifest import SCHEMA_VERSION, manifest_from_json
from twinlens.contract.words import parse_unit, reading_position
from twinlens.errors import RecordingError

from tests.support.made_up import manifest


@pytest.mark.parametrize("shared", [True, False])
def test_manifest_survives_json(shared):
    made = manifest(shared=shared)
    assert manifest_from_json(json.loads(json.dumps(made.to_json()))) == made


def test_lengths():
    made = manifest(shared=False)
    assert (made.prompt_length, made.answer_length("base"), made.length("tuned")) == (16, 4, 21)
    assert made.common_length == 16
    assert manifest(shared=True).common_length == 21


def test_an_answer_token_is_read_where_it_is_predicted():
    assert [reading_position(t, 3) for t in range(5)] == [0, 1, 2, 2, 3]


def test_a_newer_manifest_is_refused():
    data = manifest().to_json() | {"schema": SCHEMA_VERSION + 1}
    with pytest.raises(RecordingError, match=r"format 2.*upgrade"):
        manifest_from_json(data)


@pytest.mark.parametrize("field", ["pair", "prompt_tokens", "answers", "methods", "schema"])
def test_a_damaged_manifest_is_refused(field):
    data = manifest().to_json()
    del data[field]
    with pytest.raises(RecordingError, match="damaged"):
        manifest_from_json(data)


def test_units():
    assert parse_unit("component:12") == ("component", 12)
    assert parse_unit("neuron:0") == ("neuron", 0)
    with pytest.raises(ValueError, match="neither"):
        parse_unit("head:1")

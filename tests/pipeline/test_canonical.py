"""Equal values have one spelling, and so one hash."""

import json

import pytest

from pipeline.canonical import canonical_json, sha256_of


def test_canonical_json_has_one_spelling() -> None:
    assert sha256_of({"b": [1, 2], "a": "ä"}) == sha256_of(json.loads('{"a": "\\u00e4","b":[1,2]}'))
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(float("nan"))

"""JSON that parsers disagree about is refused; what is written is RFC 8785."""

import re

import pytest

from xpm_index import strict_json
from xpm_index.errors import ManifestError

DEEPEST = strict_json.MAX_DEPTH


def nested(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b'{"a": 1, "b": [null, true, 1.5, "\\u00e9"]}', {"a": 1, "b": [None, True, 1.5, "é"]}),
        ('"é😀"'.encode(), "é😀"),
        (b'"\\ud83d\\ude00"', "😀"),
        (b" [] ", []),
    ],
)
def test_good_documents(data, value):
    assert strict_json.loads(data, what="it") == value


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"a": 1, "a": 1}', "duplicate key 'a'"),
        (b'{"x": {"a": 1, "\\u0061": 2}}', "duplicate key 'a'"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b"[Infinity]", "Infinity is not JSON"),
        (b"[-Infinity]", "-Infinity is not JSON"),
        (b"[1e999]", "a number is out of range"),
        (b'"\\ud800"', "surrogates not allowed"),
        (b'{"\\udc00": 1}', "surrogates not allowed"),
        (b"\xff", "codec can't decode"),
        (b"{} {}", "Extra data"),
        (b"", "Expecting value"),
        (b'{"a": 1,}', "Illegal trailing comma|Expecting property name"),
        (b"'a'", "Expecting value"),
        (b"[" + b"1" * 5000 + b"]", "digits"),
        (nested(DEEPEST + 1), f"deeper than {DEEPEST}"),
    ],
)
def test_refused_documents(data, reason):
    with pytest.raises(ManifestError, match="it is not valid JSON") as caught:
        strict_json.loads(data, what="it")
    assert caught.value.context is not None
    assert re.search(reason, caught.value.context)


def test_depth_and_size_limits_are_exact():
    assert strict_json.loads(nested(DEEPEST), what="it")
    fitting = b'"' + b"a" * (strict_json.MAX_BYTES - 2) + b'"'
    assert len(strict_json.loads(fitting, what="it")) == strict_json.MAX_BYTES - 2
    with pytest.raises(ManifestError, match="it is larger than"):
        strict_json.loads(fitting + b" ", what="it")


def test_bottomless_nesting_is_an_ordinary_error():
    with pytest.raises(ManifestError, match="it is nested deeper"):
        strict_json.loads(nested(400_000), what="it")


def test_canonical_form():
    value = {"b": [1, 1.0, 1e21, True, None], "a": "é\n\u20ac", "": {}}
    assert strict_json.canonical(value) == '{"":{},"a":"é\\n€","b":[1,1,1e+21,true,null]}'.encode()


@pytest.mark.parametrize("value", [2**53, -(2**53), [float("nan")], {"a": float("inf")}, "\ud800"])
def test_what_canonical_json_cannot_express(value):
    with pytest.raises(ManifestError):
        strict_json.canonical(value)

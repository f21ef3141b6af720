"""Laws of manifests and canonical JSON."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.packages import BASE_DIGEST, FILES, make_manifest, sign_files
from xpm_index import strict_json
from xpm_index.errors import ManifestError
from xpm_index.integrity import verify_signature
from xpm_index.keys import SigningKey
from xpm_index.manifest import Manifest

KEY = SigningKey.generate()
KNOWN = set(make_manifest().raw) | {
    "kind",
    "schema_version",
    "base_model",
    "base",
    "description",
    "license",
    "author",
    "capabilities",
    "tags",
    "constraints",
    "dependencies",
    "routing",
    "soft_prompts",
    "decoding",
    "training",
    "quality_metrics",
    "integrity",
}
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NUMBERS = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(-(2.0**53) + 1, 2.0**53 - 1)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
EXTRAS = st.dictionaries(TEXTS.filter(lambda key: key not in KNOWN), VALUES, max_size=4)


@given(EXTRAS)
@settings(max_examples=60, deadline=None)
def test_whatever_a_manifest_holds_besides_is_kept(extras):
    manifest = make_manifest(**extras)
    data = manifest.to_bytes()
    again = Manifest.parse(data)
    assert again.raw == manifest.raw
    assert list(again.raw) == list(manifest.raw)
    assert again.to_bytes() == data
    assert again.bases[0].digest == BASE_DIGEST


@given(EXTRAS)
@settings(max_examples=30, deadline=None)
def test_a_signed_manifest_verifies_whatever_it_holds(extras):
    signed = sign_files(make_manifest(**extras), FILES, KEY)
    verify_signature(Manifest.parse(signed.to_bytes()), KEY.public)


@given(VALUES)
@settings(max_examples=100, deadline=None)
def test_canonical_json_is_a_fixed_point(value):
    data = strict_json.canonical(value)
    assert strict_json.canonical(strict_json.loads(data, what="it")) == data


@given(
    st.binary(max_size=60)
    | st.text(alphabet='{}[]":,\\/eE+-.0123456789truefalsn\ud800', max_size=40).map(
        lambda text: text.encode("utf-8", "surrogatepass")
    )
)
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_parsed_or_refused(data):
    try:
        value = strict_json.loads(data, what="it")
    except ManifestError:
        return
    assert strict_json.loads(data, what="it") == value

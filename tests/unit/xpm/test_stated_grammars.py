"""The grammar that a composition's manifests ask for."""

from pathlib import Path

import pytest

from tests.support.packages import make_manifest
from xpm.errors import UsageError
from xpm.operations.grammars import stated_by
from xpm.operations.parts import Part
from xpm_runtime.grammars import built_in


def part(name: str, **decoding: object) -> Part:
    manifest = make_manifest(name, decoding=decoding)
    return Part(name=name, label=name, folder=Path("nowhere"), manifest=manifest)


def test_experts_that_ask_for_different_grammars_have_none():
    asks, silent = part("expert-a", use_grammar=True, grammar_type="json"), part("expert-b", temperature=0.3)
    later = part("expert-c", use_grammar=True, grammar_type="sql")
    assert stated_by([silent], "x") is None
    assert stated_by([asks, silent], "x") == built_in("json")
    assert stated_by([later, silent, part("expert-d", use_grammar=True, grammar_type="sql")], "x") == built_in("sql")
    assert stated_by([asks, later, silent], "x") is None
    assert stated_by([later], "Names? Schema: users(id, name)") != built_in("sql")


def test_what_is_not_there_is_said_with_whose_it_is_and_how_to_go_without():
    with pytest.raises(UsageError, match=r"expert-a: .*there is no grammar") as raised:
        stated_by([part("expert-a", use_grammar=True)], "x")
    assert "--no-grammar" in raised.value.hint

"""Everyday domains: requests in ordinary words about ordinary things, in real words and shapes."""

from pathlib import Path

from xpm_build.domains.everyday.code_requests import make_everyday_python, make_everyday_rust, make_everyday_typescript
from xpm_build.domains.everyday.json_requests import make_everyday_json
from xpm_build.domains.everyday.talk import make_everyday_talk

JSON_PHRASES = Path(__file__).with_name("json.toml")
CODE_PHRASES = Path(__file__).with_name("code.toml")
TALK_PHRASES = Path(__file__).with_name("talk.toml")

__all__ = [
    "CODE_PHRASES",
    "JSON_PHRASES",
    "TALK_PHRASES",
    "make_everyday_json",
    "make_everyday_python",
    "make_everyday_rust",
    "make_everyday_talk",
    "make_everyday_typescript",
]

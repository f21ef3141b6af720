"""Everyday domains: requests in ordinary words about ordinary things."""

from pathlib import Path

from xpm_build.domains.everyday.json_requests import make_everyday_json

JSON_PHRASES = Path(__file__).with_name("json.toml")

__all__ = ["JSON_PHRASES", "make_everyday_json"]

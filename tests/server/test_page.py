"""The Python of the page on serving is run, against a server."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "serve.md"


def test_python_runs(served):
    for code in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        exec(compile(code.replace("http://127.0.0.1:8642", served.url), PAGE.name, "exec"), {})

"""Logins for HTTP remotes, asked of Git's own credential helpers; nothing is stored or shown by us."""

import base64
import os
import subprocess
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_TIMEOUT_S = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    username: str
    password: str = field(repr=False)

    def header(self) -> dict[str, str]:
        """The HTTP header that carries it."""
        token = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
        return {"Authorization": f"Basic {token}"}


def ask_git(url: str) -> Login | None:
    """What ``git credential fill`` knows for ``url``, without asking the user; None if nothing, or without git."""
    parts = urlsplit(url)
    question = f"protocol={parts.scheme}\nhost={parts.netloc.rpartition('@')[2]}\npath={parts.path.lstrip('/')}\n\n"
    if question.count("\n") != 4 or "\0" in question:  # a line break in the URL would smuggle in another question
        return None
    quiet = {**os.environ, "GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "", "SSH_ASKPASS": "", "GCM_INTERACTIVE": "never"}
    try:
        done = subprocess.run(
            ["git", "credential", "fill"],
            input=question,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            env=quiet,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    answer = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    if "username" not in answer or "password" not in answer:
        return None
    return Login(username=answer["username"], password=answer["password"])

"""What people put around a request: a greeting, a reason, thanks."""

from xpm_build.domains.speech import ENGLISH, Speaker, frames_of

_OPENING_SHARE, _CLOSING_SHARE = 0.07, 0.09


def mannered(prompt: str, speaker: Speaker, **values: str) -> str:
    """The prompt, now and then with an ``opening`` or a ``closing`` of its domain's frames; in English alone."""
    if speaker.language != ENGLISH or "opening" not in frames_of(speaker.phrases):
        return prompt
    if speaker.rng.random() < _OPENING_SHARE:
        prompt = speaker.say("opening", **values) + " " + prompt
    if speaker.rng.random() < _CLOSING_SHARE:
        closing = speaker.say("closing", **values)
        prompt += f"\n{closing.strip()}" if "\n" in prompt or prompt.rstrip()[-1:] not in ".?!" else closing
    return prompt

"""``xpm bench context``: what a base makes of long prompts, by their length, and what they cost."""

"""Small functions from a signature and a description, and small edits of them, in Python, TypeScript and Rust.

One family makes one task and writes it in all three languages. ``check`` holds the signature and a few calls with their
results, which the Python form computed; the judge of each language runs them.
"""

from collections.abc import Callable
from functools import partial

from xpm_build.domains.case import Draft
from xpm_build.domains.functions.algorithms import algorithm
from xpm_build.domains.functions.edits import define_record, edit_function
from xpm_build.domains.functions.lists import (
    all_items,
    any_item,
    count_items,
    filter_items,
    filter_map,
    first_item,
    map_items,
    sum_items,
    two_lists,
    whole_list,
)
from xpm_build.domains.functions.mappings import mapping, rows_task
from xpm_build.domains.functions.task import Author, Code, Task
from xpm_build.domains.functions.texts import text_task
from xpm_build.domains.functions.values import arithmetic, choose_of_three, test_value
from xpm_build.domains.functions.writing import write
from xpm_build.domains.speech import Speaker
from xpm_build.domains.words import Vocabulary
from xpm_build.judges.python import Python
from xpm_build.judges.rust import Rust
from xpm_build.judges.typescript import TypeScript

_TASKS: dict[str, tuple[int, Callable[[Author], Task]]] = {
    "filter": (9, lambda author: filter_items(author)),
    "map": (8, map_items),
    "filter-map": (8, filter_map),
    "count": (5, lambda author: count_items(author)),
    "any-all": (6, lambda author: author.words.rng.choice((any_item, all_items))(author)),
    "first": (5, lambda author: first_item(author)),
    "sum": (7, sum_items),
    "list": (12, whole_list),
    "two-lists": (4, two_lists),
    "arithmetic": (9, arithmetic),
    "test": (8, test_value),
    "choose": (4, choose_of_three),
    "text": (12, text_task),
    "algorithm": (6, algorithm),
    "map-type": (8, mapping),
    "records": (12, rows_task),
}
_EDIT_SHARE, _DEFINE_SHARE = 0.12, 0.06


def make_function(words: Vocabulary, speaker: Speaker, *, language: Code) -> Draft:
    """Draw one function, edit or record definition in one language."""
    rng = words.rng
    author = Author(words, speaker, language)
    draw = rng.random()
    if draw < _DEFINE_SHARE:
        return define_record(author)
    family, (_, make) = rng.choices(list(_TASKS.items()), weights=[weight for weight, _ in _TASKS.values()])[0]
    name = author.name(words.function_name)
    task = make(author)
    if draw < _DEFINE_SHARE + _EDIT_SHARE and task.record is None:
        return edit_function(author, name, task)
    written, check = write(author, name, task.params, task)
    header = author.language.header(name, task.params, task.returns)
    prompt = speaker.say("function", sig=header, does=task.does, lang=author.language.spoken)
    if task.record:
        prompt = (
            speaker.end(prompt).rstrip(".")
            + "."
            + " "
            + speaker.say("with_type", record=author.language.shown(task.record)).strip()
        )
    return prompt, written, family, check, speaker.say("words", name=name)


make_python = partial(make_function, language=Python)
make_typescript = partial(make_function, language=TypeScript)
make_rust = partial(make_function, language=Rust)

"""From a request to its sequence: what is asked is checked against what the base, its lanes and
the attached experts can do.

Nothing is computed here, and nothing queued.
"""

from collections.abc import Callable
from collections.abc import Sequence as Items
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from xpm_runtime.cache_settings import CacheSettings
from xpm_runtime.composition import Attached, compose, num_soft, stages
from xpm_runtime.constraint import Constraints
from xpm_runtime.errors import CapacityError, RequestError
from xpm_runtime.forms.form import Form
from xpm_runtime.grammar import Grammar
from xpm_runtime.grammars import agreed
from xpm_runtime.guide import Guides
from xpm_runtime.lanes import Lanes
from xpm_runtime.prompts import asked_in, encode_prompt
from xpm_runtime.rope_scaling import RopeScaling
from xpm_runtime.sampler import Sampler
from xpm_runtime.scheduler import Scheduler
from xpm_runtime.sequence import Request, Sequence
from xpm_runtime.text import GrowingText, TextCodec
from xpm_runtime.vocabulary import TokenizerVocabulary, ids_before_a_text


def require_form(form: Form[Any], rope: RopeScaling | None, cache: CacheSettings | None) -> None:
    """Raise RequestError if a graph can't scale positions or keep its cache so."""
    if rope is not None and not form.scales_positions:
        raise RequestError(
            "an exported graph turns positions itself, they can't be scaled",
            hint="use a base that xpm's own graphs run",
        )
    if cache is not None and not cache.is_plain and not form.packs_cache:
        raise RequestError(
            f"the {form.name} graph keeps all keys and values as they are",
            hint="fewer bits, and windows, need our own kernels: a quantised base on a CPU (kernels native)",
        )


class Admission:
    """Of one engine.

    ``rope`` and ``cache`` hold for requests that say nothing else. ``opened`` is entered while the attached experts are
    read, and raises if the engine was closed. ``owner`` is what its sequences are known by.
    """

    def __init__(
        self,
        form: Form[Any],
        codec: TextCodec,
        lanes: Lanes,
        scheduler: Scheduler,
        attached: Attached,
        *,
        bytes_per_token: int,
        rope: RopeScaling | None,
        cache: CacheSettings | None,
        owner: object,
        opened: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._form = form
        self._graph = form.graph
        self._codec = codec
        self._lanes = lanes
        self._scheduler = scheduler
        self._attached = attached
        self._bytes_per_token = bytes_per_token
        self._rope = rope
        self._cache = cache
        self._owner = owner
        self._opened = opened
        vocabulary = partial(TokenizerVocabulary, codec.tokenizer, form.graph.vocab_size, form.graph.eos_token_ids)
        self._guides = Guides(Constraints(vocabulary))

    def begin(self, request: Request) -> Sequence:
        """The sequence of a request that can be answered; raises RequestError, ConstraintError or
        CapacityError if it can't be."""
        sampling, num_lanes = request.sampling, len(self._scheduler.lanes)
        if sampling.num_beams > num_lanes:
            raise RequestError(
                f"{sampling.num_beams} beams need as many lanes, and there are {num_lanes}",
                hint="lower num_beams, or load the base with a larger max_lanes",
            )
        ids = encode_prompt(  # may take long: nobody waits for it
            request.prompt,
            self._codec,
            self._graph.vocab_size,
            max_tokens=self._scheduler.capacity,
            allow_special=request.allow_special,
        )
        if any(token >= self._graph.vocab_size for token in sampling.logit_bias):
            raise RequestError("logit_bias names a token that the base does not have")
        grammar = sampling.grammar or self._stated_grammar(request, ids)
        guide = self._guides.begin(grammar) if grammar else None
        before = ids_before_a_text(self._codec.tokenizer) if guide else ()
        text = GrowingText(self._codec, sampling.stop, before)
        with self._opened():
            asked = compose(self._attached, request.experts, request.scales)
            of_prompt, count = stages(self._attached, asked, ids), num_soft(self._attached, asked)
            acting = of_prompt[-1].acting
            sequence = Sequence(
                [0] * count + ids,
                count,
                tuple(name for name, _ in acting),
                Sampler(sampling),
                text,
                guide,
                owner=self._owner,
                scales=tuple(scale for _, scale in acting),
                stages=of_prompt,
            )
            longest = self._scheduler.longest(sequence)
            sequence.cache = self.cache_of(request.cache)
            if sequence.cache is not None:
                num_bytes = self._lanes.bytes_of(sequence.cache, longest)
                sequence.num_held = -(-num_bytes // self._bytes_per_token)
            self._scheduler.check(sequence)
            sequence.rope = self.scaling_of(request.rope, longest, sequence.cache)
        return sequence

    def cache_of(self, asked: CacheSettings | None) -> CacheSettings | None:
        """How a request keeps its cache, None for as the graph has it; raises RequestError if this
        graph can't do otherwise."""
        kept = asked or self._cache
        if kept is None or kept.is_plain:
            return None
        require_form(self._form, None, kept)
        return kept

    def scaling_of(self, asked: RopeScaling | None, length: int, cache: CacheSettings | None) -> RopeScaling | None:
        """How the positions of a request of so many tokens are scaled, by its own wish or by what
        the engine was loaded with.

        Within a window that the base was made for, they need not be: tokens that see each other are near.

        Raises:
            CapacityError: it is longer than that reaches. RequestError: this graph can't scale positions.
        """
        scaling, graph = asked or self._rope, self._graph
        span = length if cache is None or cache.span is None else min(length, cache.span)
        if span <= graph.max_positions:
            return None
        if scaling is None:
            raise CapacityError(
                f"the request may come to {length} tokens, the base was made for {graph.max_positions}",
                hint="ask for fewer, for scaled positions (rope), or for a window",
            )
        require_form(self._form, scaling, None)
        return scaling.for_length(length, graph.trained_positions)

    def _stated_grammar(self, request: Request, ids: Items[int]) -> Grammar | None:
        """What the request's experts say of their answers; None if they differ: an answer can't be of both forms."""
        with self._opened():
            asked = compose(self._attached, request.experts, request.scales)
            specs = [self._attached[name].spec for name, _ in stages(self._attached, asked, ids)[-1].acting]
        return agreed(spec.grammar(asked_in(request.prompt)) for spec in specs if spec.grammar)

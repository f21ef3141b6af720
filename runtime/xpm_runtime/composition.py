"""Which of the attached experts act on a prompt, in which order, how strongly and from where on."""

from collections.abc import Iterable, Mapping, Sequence

from xpm_runtime.activation import Stage, stages_of
from xpm_runtime.errors import CapacityError, RequestError
from xpm_runtime.resident import AttachedAdapter
from xpm_runtime.sampler import as_real
from xpm_runtime.slots import Acting, check_scale

MAX_EXPERTS = 10
Attached = Mapping[str, AttachedAdapter]


def compose(attached: Attached, experts: Sequence[str], scales: Sequence[float] = ()) -> Acting:
    """Those that act, in load order, then by name, with their scales (1 for all if there are none);
    without those at scale 0.

    Raises:
        CapacityError: there are too many. RequestError: one is named twice or not attached, or can't have its scale.
    """
    if len(experts) > MAX_EXPERTS:
        raise CapacityError(f"{len(experts)} experts were asked for, at most {MAX_EXPERTS} act together")
    if len(set(experts)) != len(experts):
        raise RequestError("an expert is named twice", context=", ".join(experts))
    require_attached(attached, experts)
    if scales and len(scales) != len(experts):
        raise RequestError("each expert needs a scale", context=f"{len(experts)} experts, {len(scales)} scales")
    of = {name: as_real(f"the scale of {name}", scale) for name, scale in zip(experts, scales, strict=False)}
    for name, scale in of.items():
        check_scale(name, scale, has_soft=attached[name].num_soft > 0)
    ordered = sorted(experts, key=lambda name: (attached[name].spec.load_order, name))
    return tuple((name, of.get(name, 1.0)) for name in ordered if of.get(name) != 0)


def require_attached(attached: Attached, names: Iterable[str]) -> None:
    """Raise RequestError if one of ``names`` is not attached."""
    for name in names:
        if name not in attached:
            raise RequestError(
                f"no expert named {name} is attached", context=f"attached: {', '.join(attached) or 'none'}"
            )


def num_soft(attached: Attached, acting: Acting) -> int:
    """Tokens of soft prompts that come before a prompt's own."""
    return sum(attached[name].num_soft for name, _ in acting)


def stages(attached: Attached, acting: Acting, ids: Sequence[int]) -> tuple[Stage, ...]:
    """What acts on which tokens of a prompt; ``ids`` are those behind its soft prompts."""
    invocations = {name: attached[name].invocation for name, _ in acting}
    return stages_of(acting, invocations, ids, num_soft=num_soft(attached, acting))

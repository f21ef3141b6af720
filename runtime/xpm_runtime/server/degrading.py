"""What an order gives up when many wait: first its weaker experts, then length. Each is said in the answer."""

from dataclasses import replace

from xpm_runtime import Request
from xpm_runtime.server.work import Limits


def degrade(request: Request, limits: Limits, *, fill: float) -> tuple[Request, tuple[str, ...]]:
    """A request as it is accepted while the queue is filled to ``fill`` (0 to 1), and notes of what it lost.

    The experts with the largest scales stay, of equals those that were named first; the others get the scale 0.
    """
    if limits.degrade_from is None or fill < limits.degrade_from:
        return request, ()
    notes: list[str] = []
    scales = request.scales or (1.0,) * len(request.experts)
    acting = [number for number, scale in enumerate(scales) if scale]
    kept = sorted(acting, key=lambda number: -abs(scales[number]))[: limits.degraded_experts]
    if len(scales) == len(request.experts) and len(kept) < len(acting):
        lost = ", ".join(request.experts[number] for number in acting if number not in kept)
        request = replace(request, scales=tuple(s if n in kept else 0.0 for n, s in enumerate(scales)))
        notes.append(f"many requests wait: {lost} did not act")
    if fill >= (1 + limits.degrade_from) / 2 and request.sampling.max_tokens > limits.degraded_tokens:
        request = replace(request, sampling=replace(request.sampling, max_tokens=limits.degraded_tokens))
        notes.append(f"many requests wait: at most {limits.degraded_tokens} tokens were written")
    return request, tuple(notes)

"""What a run of several tokens costs beside a run of one, learned from the runs themselves."""

_UNKNOWN = 0.25  # of a run of one, for each further token, until a run was seen
_RISE, _FALL = (
    1 / 8,
    1 / 2,
)  # what delays a run is seldom the run itself: a longer time is believed later than a shorter one
_MOST = 1.5  # of what was believed, that one run can say


class RunCosts:
    """Of one engine, whatever runs on it."""

    def __init__(self) -> None:
        self._single_ms = 0.0
        self._ratios: dict[int, float] = {}

    @property
    def is_known(self) -> bool:
        """Whether a run of one was seen."""
        return self._single_ms > 0

    def saw(self, count: int, ms: float) -> None:
        """A run of ``count`` tokens took ``ms`` milliseconds, drawing included."""
        if count == 1:
            self._single_ms = _moved(self._single_ms or ms, ms)
        elif self.is_known:
            self._ratios[count] = _moved(self.of(count), ms / self._single_ms)

    def of(self, count: int) -> float:
        """What a run of ``count`` tokens costs, in runs of one: as seen, else by the nearest size that was."""
        if count == 1 or count in self._ratios:
            return self._ratios.get(count, 1.0)
        nearest = min(self._ratios, key=lambda size: abs(size - count), default=None)
        slope = _UNKNOWN if nearest is None else (self._ratios[nearest] - 1) / (nearest - 1)
        return max(1.0, 1 + slope * (count - 1))


def _moved(believed: float, seen: float) -> float:
    if seen < believed:
        return believed + _FALL * (seen - believed)
    return believed + _RISE * (min(seen, _MOST * believed) - believed)

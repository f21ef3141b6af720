"""Making a data set with a provider: many requests at once, held to a rate, tried again where that
helps, resumed after a kill.

Finished batches are appended to a journal beside the data set, a line each. So a run that was killed goes on where it
was, and with the ``template`` provider ends with the same bytes as one that was not.
"""

import asyncio
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xpm_build.dataset.apportion import apportion
from xpm_build.dataset.providers import BATCH_ROWS, Batch, BrokenAnswer, Provider, Usage, provider_of
from xpm_build.dataset.settings import Generation
from xpm_build.errors import DatasetError
from xpm_build.json_lines import recover
from xpm_build.rows import Row, context_of, moved_aside, replace_rows

_MAX_TRIES = 6
_LONGEST_WAIT_S = 60.0
_MAX_EXTRA = 3  # at most so many times the batches that were thought to be enough
_LOCAL_BATCH_ROWS = 250
Report = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationReport:
    rows: int
    duplicates: int
    too_alike: int
    broken: int
    retries: int
    usage: Usage
    elapsed_s: float

    def to_dict(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "duplicates": self.duplicates,
            "too_alike": self.too_alike,
            "broken": self.broken,
            "retries": self.retries,
            "usage": self.usage.to_dict(),
            "elapsed_s": round(self.elapsed_s, 1),
        }


def estimate(generation: Generation) -> Usage:
    """What the generation is likely to cost; sends nothing and needs no key."""
    return provider_of(generation).estimate(generation.count)


def generate(
    generation: Generation,
    path: Path,
    *,
    concurrency: int = 8,
    url_is_confirmed: bool = False,
    report: Report = lambda text: None,
) -> GenerationReport:
    """Make the rows that a manifest asks for and write them to ``path``.

    Args:
        path: replaced whole at the end; what it held before is kept beside it. So is the journal of rows that were paid
            for: asking for more goes on from there.
        concurrency: how many requests may be under way at once.
        url_is_confirmed: see ``Provider.connect``.
    Raises:
        DatasetError: a request fails for good; the journal is kept.
    """
    provider = provider_of(generation)
    provider.connect(url_is_confirmed=url_is_confirmed)
    journal = _Journal(path.with_name(f"{path.name}.journal"), _identity(provider), report)
    started = time.monotonic()
    retries = asyncio.run(_make_batches(provider, generation, journal, concurrency, report))
    rows, duplicates, alike = _chosen(journal.batches(), generation)
    if len(rows) < generation.count:
        report(f"only {len(rows)} rows differ enough and fit the difficulties asked for")
    replace_rows(path, rows, report)
    usage = sum((batch.usage for batch in journal.batches()), Usage())
    result = GenerationReport(
        rows=len(rows),
        duplicates=duplicates,
        too_alike=alike,
        broken=sum(each.broken for each in journal.batches()),
        retries=retries,
        usage=usage,
        elapsed_s=time.monotonic() - started,
    )
    if not provider.is_remote:
        journal.remove()
    return result


async def _make_batches(
    provider: Provider, generation: Generation, journal: "_Journal", concurrency: int, report: Report
) -> int:
    """Fill the journal until it holds enough different rows; how many requests had to be repeated."""
    from aiolimiter import AsyncLimiter

    size = BATCH_ROWS if provider.is_remote else _LOCAL_BATCH_ROWS
    needed = -(-generation.count // size)
    most = _MAX_EXTRA * needed + 8
    limiter = AsyncLimiter(generation.requests_per_minute if provider.is_remote else 1e9, 60)
    gate = asyncio.Semaphore(concurrency if provider.is_remote else 1)
    retries = 0
    started, before = time.monotonic(), len(journal.batches())
    if before:
        report(f"going on after {before} of {needed} batches")

    async def one(number: int) -> None:
        nonlocal retries
        async with gate:
            batch, tries = await _try(provider, number, size, limiter)
        retries += tries
        journal.append(number, batch)
        done = len(journal.batches())
        left = (time.monotonic() - started) / max(1, done - before) * max(0, needed - done)
        report(f"batch {done}/{needed}, {sum(len(each.rows) for each in journal.batches())} rows, {left:.0f} s left")

    try:
        while True:
            have = journal.numbers()
            missing = [number for number in range(needed) if number not in have]
            if not missing:
                rows, _, _ = _chosen(journal.batches(), generation)
                if len(rows) >= generation.count or needed >= most:
                    return retries
                lacking = -(-(generation.count - len(rows)) * needed // max(1, len(rows)))
                needed = min(needed + max(1, lacking), most)
                continue
            await _all(one(number) for number in missing)
    finally:
        await provider.close()


async def _all(tasks: Iterator[Any]) -> None:
    """Wait for all; the first failure cancels the rest and comes out as itself."""
    try:
        async with asyncio.TaskGroup() as group:
            for task in tasks:
                group.create_task(task)
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None


async def _try(provider: Provider, number: int, size: int, limiter: Any) -> tuple[Batch, int]:
    """One batch, tried again after what may pass: (batch, repetitions). Usage of failed tries is counted."""
    from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt
    from tenacity.wait import wait_random_exponential

    spent = Usage()
    backoff = wait_random_exponential(multiplier=0.5, max=_LONGEST_WAIT_S)

    def wait(state: Any) -> float:
        asked = _retry_after(state.outcome.exception())
        return backoff(state) if asked is None else min(asked, _LONGEST_WAIT_S)

    tries = 0
    try:
        async for attempt in AsyncRetrying(
            retry=retry_if_exception(_is_worth_a_retry), stop=stop_after_attempt(_MAX_TRIES), wait=wait, reraise=True
        ):
            with attempt:
                tries += 1
                async with limiter:
                    try:
                        batch = await provider.batch(number, size)
                    except BrokenAnswer as error:
                        spent += error.usage
                        raise
    except BrokenAnswer as error:
        raise DatasetError(
            str(error), context=f"batch {number}, {tries} tries", hint="try another model, or a smaller task"
        ) from error
    except Exception as error:
        if isinstance(error, DatasetError) or not _is_from_sdk(error):
            raise
        raise DatasetError(
            f"the provider refused or could not be reached: {type(error).__name__}",
            context=f"batch {number}, {tries} tries: {_brief(error)}",
            hint="what was made is kept: run the command again to go on",
        ) from error
    return Batch(rows=batch.rows, usage=batch.usage + spent, broken=batch.broken), tries - 1


def _is_from_sdk(error: BaseException) -> bool:
    return type(error).__module__.split(".")[0] in ("openai", "anthropic", "httpx", "httpcore", "httpx2")


def _is_worth_a_retry(error: BaseException) -> bool:
    """Rate limits, server errors, lost connections and answers that are no JSON."""
    if isinstance(error, BrokenAnswer):
        return True
    status = getattr(error, "status_code", None)
    if status is not None:
        return status in (408, 409, 429) or status >= 500
    return _is_from_sdk(error)


def _retry_after(error: BaseException | None) -> float | None:
    """What the server asked for, in seconds."""
    headers = getattr(getattr(error, "response", None), "headers", None)
    try:
        return float(headers["retry-after"]) if headers is not None else None
    except (KeyError, ValueError):
        return None


def _brief(error: BaseException) -> str:
    return str(error).replace("\n", " ")[:200]


def _chosen(batches: list[Batch], generation: Generation) -> tuple[list[Row], int, int]:
    """The rows to keep, in the order of their batches: (rows, duplicates dropped, rows dropped for being too alike)."""
    kept: list[Row] = []
    seen: set[str] = set()
    duplicates = 0
    for row in (row for batch in batches for row in batch.rows):
        key = " ".join(context_of(row).lower().split())
        if key in seen:
            duplicates += 1
            continue
        seen.add(key)
        kept.append(row)
    alike = 0
    if generation.diversity_threshold:
        from xpm_build.dataset.quality import near_duplicates

        close = near_duplicates(kept, generation.diversity_threshold)
        alike = len(close)
        kept = [row for number, row in enumerate(kept) if number not in close]
    return _by_difficulty(kept, generation)[: generation.count], duplicates, alike


def _by_difficulty(rows: list[Row], generation: Generation) -> list[Row]:
    """The first rows of each difficulty, as many as were asked for; all if nothing was."""
    quotas = apportion(generation.count, generation.difficulty)
    if not any(quotas.values()):
        return rows
    kept = []
    for row in rows:
        level = str(row.get("difficulty", ""))
        if quotas.get(level, 0) > 0:
            quotas[level] -= 1
            kept.append(row)
    return kept


def _identity(provider: Provider) -> str:
    """What a journal belongs to: not the count, nor prices, so that more rows can be asked for."""
    return hashlib.sha256(json.dumps(provider.origin, sort_keys=True, default=dict).encode()).hexdigest()


class _Journal:
    """Finished batches on disk. The first line names the origin they belong to; another
    one's journal is moved aside."""

    def __init__(self, path: Path, identity: str, report: Report) -> None:
        self._path = path
        self._batches: dict[int, Batch] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        header = {"generation": identity}
        first, *documents = recover(path) or [{}]
        if first != header:
            if documents:
                report(f"{path.name} is of other settings; it is kept as {moved_aside(path).name}")
            path.write_text(json.dumps(header) + "\n")
            return
        for each in documents:
            usage = Usage(**each["usage"])
            self._batches[each["batch"]] = Batch(rows=tuple(each["rows"]), usage=usage, broken=each["broken"])

    def append(self, number: int, batch: Batch) -> None:
        usage = {name: getattr(batch.usage, name) for name in batch.usage.__slots__}
        document = {"batch": number, "rows": batch.rows, "usage": usage, "broken": batch.broken}
        with self._path.open("ab") as stream:
            stream.write((json.dumps(document, ensure_ascii=False) + "\n").encode())
            stream.flush()
            os.fsync(stream.fileno())
        self._batches[number] = batch

    def batches(self) -> list[Batch]:
        return [self._batches[number] for number in sorted(self._batches)]

    def numbers(self) -> set[int]:
        return set(self._batches)

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)

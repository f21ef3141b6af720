"""How one expert is examined: by the judge of its language, its answers decoded as its manifest says."""

from collections.abc import Sequence
from dataclasses import dataclass

from xpm_build.dataset.settings import DatasetSettings, dataset_settings
from xpm_build.evaluation.answers import Answerer, Report, sampling_of
from xpm_build.evaluation.cases import Circle
from xpm_build.evaluation.findings import Answered
from xpm_build.evaluation.metrics import figures
from xpm_build.judges import Judge, Verdict, judge_of, measure_of
from xpm_build.judges.judging import has_check, require_judgeable
from xpm_build.judges.languages import language_of
from xpm_build.judges.sandbox import isolation
from xpm_build.rows import Row, completion_of
from xpm_index.manifest import Manifest
from xpm_runtime import SamplingParams


@dataclass(frozen=True, slots=True, kw_only=True)
class Examiner:
    """``execution`` False compares texts and runs nothing."""

    manifest: Manifest
    settings: DatasetSettings
    language: str
    judge: Judge
    sampling: SamplingParams
    execution: bool

    @classmethod
    def of(cls, manifest: Manifest, *, execution: bool) -> "Examiner":
        """
        Raises:
            EvaluationError: the manifest's ``decoding`` makes no sense. BuildError: there is no judge for the language.
        """
        settings = dataset_settings(manifest.raw)
        language = settings.language or "text"
        judge, sampling = judge_of(language, execution=execution), sampling_of(manifest)
        return cls(
            manifest=manifest, settings=settings, language=language, judge=judge, sampling=sampling, execution=execution
        )

    def require_judgeable(self, circles: Sequence[Circle]) -> None:
        """Refuse, before any answer is made, what could not be judged afterwards.

        Raises:
            EvaluationError: a case's check is malformed. SandboxError: answers cannot be run here safely.
        """
        rows = [row for circle in circles for row in circle.rows]
        if self.execution and language_of(self.language).is_executed and any(map(has_check, rows)):
            isolation()
        require_judgeable(self.language, rows, execution=self.execution)

    def measure(self, circles: Sequence[Circle]) -> str:
        """What "right" means of these cases."""
        return measure_of(self.language, [row for each in circles for row in each.rows], execution=self.execution)

    def examine(
        self,
        answerer: Answerer,
        rows: Sequence[Row],
        experts: tuple[str, ...],
        *,
        scales: tuple[float, ...] = (),
        what: str,
        report: Report,
    ) -> Answered:
        """Let ``experts`` answer the rows together, and judge the answers; one that was refused is wrong.

        Args:
            scales: how strongly each of them acts, 1 for all if empty.
        """
        answers, refusals = answerer.answers(rows, experts, self.sampling, scales=scales, what=what, report=report)
        verdicts = [
            Verdict(right=False, parses=False, reason=refusal) if refusal else verdict
            for verdict, refusal in zip(self.judge(rows, answers), refusals, strict=True)
        ]
        found = figures(verdicts, [completion_of(row) for row in rows], answers, self.language)
        return Answered(answers=tuple(answers), verdicts=tuple(verdicts), figures=found)

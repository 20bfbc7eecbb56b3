"""The funnel of a filtering as a page: samples, lengths and margins are picked up while the rows are written."""

# pyright: reportAttributeAccessIssue=false
# pyarrow.compute makes its functions when it is imported.

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evaluation.funnel_report import FunnelReport, FunnelStepReport, SampleRow, sample_row
from evaluation.funnel_shift import length_shift, margin_shift
from filtering.config import FilterChoice
from filtering.deciding import Decision, FunnelStep, Sighting
from filtering.filtering import Split
from filtering.texts import prompt_texts

_NOT_SHOWN = "(not shown)"


class Spotter:
    """Sees all pairs once, part by part, and remembers what the page shows of them."""

    def __init__(self, decision: Decision) -> None:
        sightings = [one for step in decision.funnel for one in (*step.dropped, *step.near_misses)]
        self._wanted = np.unique([one.row for one in sightings]).astype(np.int64)
        self._texts: dict[int, tuple[str, str, str, str]] = {}
        self._chosen, self._rejected, self._margins = ([np.empty(0)] for _ in range(3))
        self._decision = decision
        self._n_seen = 0

    def see(self, split: Split) -> None:
        """Look at the next part."""
        pairs = split.pairs
        self._chosen.append(pc.utf8_length(pairs["chosen"]).to_numpy().astype(np.float64))
        self._rejected.append(pc.utf8_length(pairs["rejected"]).to_numpy().astype(np.float64))
        self._margins.append(pairs["margin"].to_numpy().astype(np.float64))
        end = self._n_seen + pairs.num_rows
        here = self._wanted[(self._wanted >= self._n_seen) & (self._wanted < end)]
        rows = pairs.select(["pair_id", "messages", "chosen", "rejected"]).take(pa.array(here - self._n_seen))
        prompts = prompt_texts(rows["messages"]).to_pylist()
        texts = zip(*(rows[name].to_pylist() for name in ("pair_id", "chosen", "rejected")), strict=True)
        for row, prompt, (pair_id, chosen, rejected) in zip(here.tolist(), prompts, texts, strict=True):
            self._texts[row] = (pair_id, prompt, chosen, rejected)
        self._n_seen = end

    def report(
        self, title: str, file: str, file_format: str, filters: Sequence[FilterChoice], imported: dict[str, int]
    ) -> FunnelReport:
        """Say what was done.

        Args:
            title: What was filtered, in a few words.
            file: Where the pairs came from.
            file_format: The format they were found in.
            filters: The recipe's filters.
            imported: Rows that are no pair, by reason.
        """
        decision = self._decision
        n_bad, n_pairs, n_kept = sum(imported.values()), len(decision.why), int(decision.keep.sum())
        steps = [self._step(config, step) for config, step in zip(filters, decision.funnel, strict=True)]
        if imported:
            what = "Drop rows that are no pair."  # and have no source that is known
            first = FunnelStepReport("import", what, n_pairs + n_bad, n_bad, imported, {}, {}, {}, [], [])
            steps = [first, *steps]
        chosen, rejected, margins = map(np.concatenate, (self._chosen, self._rejected, self._margins))
        lengths = length_shift(chosen, rejected, decision.keep)
        margin = margin_shift(margins, decision.keep)
        return FunnelReport(title, file, file_format, n_pairs + n_bad, n_kept, steps, lengths, margin)

    def _step(self, config: FilterChoice, step: FunnelStep) -> FunnelStepReport:
        thresholds = {why.reason: why.threshold for why in self._decision.whys if why.step == step.step}
        return FunnelStepReport(
            step.step,
            (type(config).__doc__ or "").splitlines()[0],
            step.n_in,
            step.n_dropped,
            step.reasons,
            {reason: value for reason, value in thresholds.items() if value is not None},
            step.sources,
            config.model_dump(mode="json", exclude={"name"}),
            [self._sample(step.step, one) for one in step.dropped],
            [self._sample(step.step, one) for one in step.near_misses],
        )

    def _sample(self, step: str, sighting: Sighting) -> SampleRow:
        pair_id, *texts = self._texts[sighting.row]
        if any(why[:2] == (step, sighting.reason) and why.context == "none" for why in self._decision.whys):
            texts = [_NOT_SHOWN] * 3  # the filter found something that nobody is to read
        return sample_row((pair_id, sighting.reason, sighting.value, sighting.threshold), *texts)

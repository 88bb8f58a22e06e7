"""VideoAccuracy: accuracy over the videos that could be read."""

from collections.abc import Sequence
from typing import Any

from mmaction.evaluation import AccMetric
from mmengine.logging import MMLogger

from amflow_mm.datasets.skip_ledger import SKIPPED
from amflow_mm.errors import UserError
from amflow_mm.registry import METRICS


@METRICS.register_module()
class VideoAccuracy(AccMetric):
    """MMAction2's ``AccMetric``, without the samples that stand in for unreadable videos.

    Theirs would count a stand-in as the video that it replaces. ``left_out`` among the figures
    tells how many videos are missing from them.
    """

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Note score and label of each sample, and whether it is a stand-in."""
        start = len(self.results)
        super().process(data_batch, data_samples)
        # Marked, not dropped: processes are expected to bring equally many.
        for result, sample in zip(self.results[start:], data_samples, strict=True):
            result["is_left_out"] = SKIPPED in sample

    def compute_metrics(self, results: list[dict[str, Any]]) -> dict[str, float]:
        """Compute the figures of the videos that could be read."""
        kept = [result for result in results if not result["is_left_out"]]
        num_left_out = len(results) - len(kept)
        if not kept:
            raise UserError(f"none of the {num_left_out} videos can be read: there is no accuracy")
        if num_left_out:
            MMLogger.get_current_instance().warning(
                f"{num_left_out} of {len(results)} videos left out of the figures: they cannot be "
                "read"
            )
        return {**super().compute_metrics(kept), "left_out": num_left_out}

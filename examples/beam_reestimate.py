"""Re-estimate the running statistics of a checkpoint in an Apache Beam pipeline.

    python examples/beam_reestimate.py CHECKPOINT DATA.npz OUTPUT [--shares N] [beam options]

Each worker measures shares of the data with the checkpoint's graph. The moments are merged by a
combiner, in any order and grouping, and the last step writes the new checkpoint. Needs
`pip install 'bnguard[beam]'`, and paths that all workers can read.
"""

from __future__ import annotations

import argparse
from typing import Iterable, Iterator, List, Optional

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from bnguard import Moments
from bnguard.reestimation.partial_files import Share
from bnguard.reestimation.rescue import Job, assign, measure


class MeasureShare(beam.DoFn):
    """Measure the moments of one share of the data."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def process(self, share: Share) -> Iterator[Moments]:
        """Yield the moments of a share."""
        yield measure(self._job, share)


class MergeMoments(beam.CombineFn):
    """Merge moments; None is those of no share."""

    def create_accumulator(self) -> Optional[Moments]:
        """Return the moments of no share."""
        return None

    def add_input(self, accumulator: Optional[Moments], moments: Moments) -> Moments:
        """Return both together."""
        return moments if accumulator is None else accumulator.merge(moments)

    def merge_accumulators(self, accumulators: Iterable[Optional[Moments]]) -> Optional[Moments]:
        """Return all together."""
        found = [moments for moments in accumulators if moments is not None]
        return found[0].merge(*found[1:]) if found else None

    def extract_output(self, accumulator: Optional[Moments]) -> Optional[Moments]:
        """Return the moments of all shares."""
        return accumulator


def run(job: Job, shares: int, beam_options: List[str]) -> None:
    """Run the pipeline; the new checkpoint is there at its end.

    Args:
      job: the checkpoint, its graph, the data, and the name of the new checkpoint.
      shares: how many shares the data is divided into.
      beam_options: such as `--runner=DataflowRunner`; by default the DirectRunner runs it here.
    """
    with beam.Pipeline(options=PipelineOptions(beam_options)) as pipeline:
        (
            pipeline
            | "Shares" >> beam.Create([Share(number + 1, shares) for number in range(shares)])
            | "Spread" >> beam.Reshuffle()
            | "Measure" >> beam.ParDo(MeasureShare(job))
            | "Merge" >> beam.CombineGlobally(MergeMoments())
            | "Write" >> beam.Map(lambda moments: assign(job, moments) and None)
        )


def main() -> None:
    """Run the pipeline with the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint")
    parser.add_argument("data")
    parser.add_argument("output")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--shares", type=int, default=8)
    given, beam_options = parser.parse_known_args()
    job = Job(given.checkpoint, data=given.data, output=given.output, batch_size=given.batch_size)
    run(job, given.shares, beam_options)


if __name__ == "__main__":
    main()

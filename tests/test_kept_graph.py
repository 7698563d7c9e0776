"""A graph that is run again and again leaves nothing of its runs behind."""

import gc

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.worker.bundle_processor import BundleProcessor

from pipelines.kept_graph import KeptGraph
from transforms.unquoted import unquote


def test_what_beam_made_for_a_run_goes_with_it() -> None:
    """And does not wait for the collector to come by itself."""
    def add(pipeline: beam.Pipeline) -> None:
        pipeline | beam.Impulse() | "Map" >> beam.Map(len) | beam.GroupBy(lambda n: n) | "Keep" >> beam.Map(lambda n: n)
        unquote(pipeline)

    def made() -> set[int]:
        return {id(o) for o in gc.get_objects() if isinstance(o, BundleProcessor)}

    graph, runs = KeptGraph(add, PipelineOptions([])), 20
    gc.collect()
    before = made()  # of others in this process
    gc.disable()
    try:
        for _ in range(runs):
            graph.run()
        assert len(made() - before) < runs / 2, "of a run, where a thread of Beam's has it in hand still; not of each"
    finally:
        gc.enable()

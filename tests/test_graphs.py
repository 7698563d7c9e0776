"""Jobs that run the streaming graph can be updated to today's; and the rules by which that is judged."""

import sys
from collections.abc import Callable
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.coders import BytesCoder, StrUtf8Coder, VarIntCoder
from apache_beam.internal import pickler
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.transforms.userstate import BagStateSpec, ReadModifyWriteStateSpec, TimerSpec, on_timer
from google.protobuf.wrappers_pb2 import BytesValue

from pipelines.launch.graph_shape import Graph, changed, incompatible, normal
from tests import graphs


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the golden graphs are those of Python 3.11, the workers': Beam infers some coders otherwise on others")
@pytest.mark.parametrize("name", graphs.GRAPHS)
def test_a_running_job_can_be_updated(name: str, key_folder: Any) -> None:
    """A batch job cannot, ever: its graph is kept so that no change of it passes unseen."""
    golden = graphs.read(name)
    assert golden is not None, "keep the graph: python -m tests.graphs --write"
    now = graphs.built(name, str(key_folder))
    why = list(incompatible(golden, now, graphs.mappings())) if name in graphs.CONTRACTS else []
    assert not why, "a running job could not be updated to this graph:\n" + "\n".join(why)
    what = list(changed(golden, now))
    assert not what, "a running job can be updated to this graph; keep it with python -m tests.graphs --write:\n" + "\n".join(what)


def test_the_graph_reads_as_the_design_says(key_folder: Any) -> None:
    """The golden files hold what they are for: the state of the two stateful steps, and how many shards they have."""
    golden = graphs.read("telemetry")
    assert golden is not None
    stateful = {name: sorted(t["state"]) for name, t in golden["transforms"].items() if "state" in t}
    assert stateful["Deduplicate/Sift/ParDo(_GatherFn)"] == ["fresh", "settled", "size", "waiting", "watermark"]
    assert golden["transforms"]["Deduplicate/Shard"]["parameters"] == {"shards": 64}
    assert len(stateful) == 2
    domains = {domain for t in golden["transforms"].values() for domain in t.get("timers", {}).values()}
    assert domains == {"EVENT_TIME"}, "a timer of processing time holds the watermark"


class Trap:
    """Unpickled, it leaves a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return open, (self.path, "w")


def test_a_graph_out_of_a_bucket_is_not_unpickled(tmp_path: Any) -> None:
    proto = (beam.Pipeline("FnApiRunner", options=PipelineOptions([])) | beam.Create([{}])).pipeline.to_runner_api()
    trap = pickler.dumps(Trap(str(tmp_path / "sprung")))
    for coder in proto.components.coders.values():
        if "pickled_python" in coder.spec.urn:
            coder.spec.payload = BytesValue(value=b"Trap$" + trap).SerializeToString()
    assert "Trap" in {output["coder"] for t in normal(proto)["transforms"].values() for output in t["outputs"].values()}
    assert not (tmp_path / "sprung").exists()
    pickler.loads(trap).close()
    assert (tmp_path / "sprung").exists(), "the trap springs"


class Sum(beam.DoFn):
    BAG, LAST, DUE = BagStateSpec("bag", BytesCoder()), ReadModifyWriteStateSpec("last", VarIntCoder()), TimerSpec("due", TimeDomain.WATERMARK)

    def __init__(self, shards: int = 8) -> None:
        self.shards = shards

    def display_data(self) -> dict[str, Any]:
        return {"shards": self.shards}

    def process(self, element: tuple[int, bytes], bag: Any = beam.DoFn.StateParam(BAG), last: Any = beam.DoFn.StateParam(LAST),
                due: Any = beam.DoFn.TimerParam(DUE)) -> None: ...

    @on_timer(DUE)
    def tell(self) -> None: ...


class OtherCoder(Sum):
    TEXT = BagStateSpec("bag", StrUtf8Coder())

    def process(self, element: tuple[int, bytes], bag: Any = beam.DoFn.StateParam(TEXT), last: Any = beam.DoFn.StateParam(Sum.LAST),
                due: Any = beam.DoFn.TimerParam(Sum.DUE)) -> None: ...


class LessState(beam.DoFn):
    display_data, shards = Sum.__dict__["display_data"], 8

    def process(self, element: tuple[int, bytes], last: Any = beam.DoFn.StateParam(Sum.LAST)) -> None: ...


class MoreState(Sum):
    MORE = BagStateSpec("more", BytesCoder())

    def process(self, element: tuple[int, bytes], bag: Any = beam.DoFn.StateParam(Sum.BAG), last: Any = beam.DoFn.StateParam(Sum.LAST),
                due: Any = beam.DoFn.TimerParam(Sum.DUE), more: Any = beam.DoFn.StateParam(MORE)) -> None: ...


def graph(fn: beam.DoFn = Sum(), sums: str = "Sum", size: int = 60, key: str = "Key", keyed: Any = tuple[int, bytes], plain: str | None = "Plain",
          more: Callable[[Any], Any] = lambda rows: rows) -> Graph:
    pipeline = beam.Pipeline("FnApiRunner", options=PipelineOptions([]))
    rows = pipeline | "Read" >> beam.Create([b""])
    if plain:
        rows = rows | plain >> beam.Map(bytes).with_output_types(bytes)
    rows = more(rows) | key >> beam.Map(lambda row: (1, row)).with_output_types(keyed)
    rows | sums >> beam.ParDo(fn).with_output_types(bytes)
    rows | "Window" >> beam.WindowInto(beam.window.FixedWindows(size)) | "Group" >> beam.GroupByKey()
    return normal(pipeline.to_runner_api())


def test_the_same_graph_is_the_same() -> None:
    assert graph() == graph()
    assert list(changed(graph(), graph())) == []


@pytest.mark.parametrize(("new", "mappings", "expected", "remark"), [
    ({}, {}, [], "nothing changed"),
    ({"sums": "Total"}, {}, ["Sum is gone or renamed"], "a stateful step renamed"),
    ({"sums": "Total"}, {"Sum": "Total"}, [], "a stateful step renamed, and mapped"),
    ({"sums": "Total"}, {"Sum": "Totl"}, ["Sum is mapped to Totl, which is not there"], "mapped amiss"),
    ({"sums": "Total"}, {"Sum": ""}, ["Sum holds state"], "a stateful step given up"),
    ({"plain": None}, {}, ["Plain is gone or renamed"], "a stateless step removed"),
    ({"plain": None}, {"Plain": ""}, [], "a stateless step removed, and mapped"),
    ({"fn": OtherCoder()}, {}, ["Sum: state bag was bag of bytes, is bag of string_utf8"], "a coder of state"),
    ({"fn": LessState()}, {}, ["Sum: state bag was bag of bytes, is gone", "Sum: timers ts-due was EVENT_TIME, is gone"], "state and timer removed"),
    ({"fn": MoreState()}, {}, [], "state added"),
    ({"fn": Sum(9)}, {}, ["Sum: parameters were {'shards': 8}, are {'shards': 9}"], "shards"),
    ({"size": 61}, {}, ["Group: output None is windowed in another way", "Window: output None is windowed in another way"], "a window's size"),
    ({"keyed": tuple[int, Any]}, {}, ["Group: ", "Group: ", "Key: output None was kv[varint, bytes]", "Sum: takes kv[varint, Fast", "Window: ", "Window: "],
     "a coder"),
    ({"more": lambda rows: rows | "New" >> beam.Filter(bool).with_output_types(bytes)}, {}, [], "a stateless step added"),
])
def test_what_an_update_survives(new: dict[str, Any], mappings: dict[str, str], expected: list[str], remark: str) -> None:
    why = sorted(incompatible(graph(), graph(**new), mappings))
    assert len(why) == len(expected) and all(w.startswith(e) for w, e in zip(why, expected)), (remark, why)
    assert bool(list(changed(graph(), graph(**new)))) == bool(new), "harmless changes are told too"

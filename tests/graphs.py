"""The streaming graph in a normal form, kept in tests/golden, and whether a job that runs it can be updated to today's.

    python -m tests.graphs            says what has changed
    python -m tests.graphs --write    keeps today's graphs; refused where a running job could not be updated to them
    python -m tests.graphs --drain    keeps them all the same: running jobs must be drained before this version

A job on Dataflow is updated by a new graph under the same job name; it finds state and data in flight by the full names of
transforms. tests/golden/mappings.json holds what was renamed, {old name: new name}, "" for what is gone: the value of
--transform_name_mapping (cloud.google.com/dataflow/docs/guides/updating-a-pipeline).
"""

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.pipeline_context import PipelineContext
from google.protobuf.json_format import MessageToDict

from pipelines import graph, stream_graph
from pipelines.options import StreamOptions
from pipelines.sinks.bigquery import dataset
from pipelines.sources.subscription import ReadSubscription
from pipelines.starting import Faults, means_of
from schemas.contract import load
from transforms import keys

GOLDEN = Path(__file__).parent / "golden"
MAPPINGS = "mappings.json"
CONTRACTS = ("census", "telemetry")  # without and with windows: the graphs of the others are the same
HOLDS = ("group_by_key", "combine_per_key", "combine_globally", "reshuffle", "pubsub_read", "read", "window_into")  # data or progress, by a runner's own state

Graph = dict[str, Any]
"""{"transforms": {full name: what it is}, "windowing": {name: strategy}}"""


def streaming(contract: str, key_folder: str) -> beam.Pipeline:
    """The graph that `penstock stream --runner=DataflowRunner` runs, not run."""
    options = StreamOptions(contract=contract, subscription="projects/project/subscriptions/events", output="bq://project.penstock",
                            project="project", keys=key_folder)
    loaded, ring = load(contract), keys.Keys(key_folder)
    pipeline = beam.Pipeline("FnApiRunner", options=PipelineOptions(["--streaming"]))  # DataflowRunner would ask for credentials
    graph.build(pipeline, stream_graph.parts(options, loaded, means_of(options, loaded, Faults(), lambda: ring), dataset(options.output),
                                             ReadSubscription(options.subscription)))
    return pipeline


def normal(proto: beam_runner_api_pb2.Pipeline) -> Graph:
    """Names, kinds, coders, windowing, state, timers and our parameters of the transforms: nothing that differs from one build to the next."""
    components = proto.components
    context = PipelineContext(components)
    named: dict[str, str] = {}
    strategies: dict[str, Any] = {}
    for key, strategy in sorted(components.windowing_strategies.items()):
        told = _windowing(strategy, components, context)
        name = next((n for n, s in strategies.items() if s == told), None)
        if name is None:
            kind = strategy.window_fn.urn.split(":")[2] if strategy.window_fn.urn.count(":") > 1 else "windows"
            name = f"{kind} {1 + sum(n.startswith(kind) for n in strategies)}"
            strategies[name] = told
        named[key] = name
    transforms = {}
    for transform in components.transforms.values():
        if transform.subtransforms or not transform.spec.urn:
            continue
        outputs = {tag: components.pcollections[p] for tag, p in transform.outputs.items()}
        told = {
            "kind": transform.spec.urn.split(":")[-2] if transform.spec.urn.startswith("beam:") else transform.spec.urn,
            "outputs": {tag: {"coder": coder(p.coder_id, components, context), "windowing": named[p.windowing_strategy_id]} for tag, p in sorted(outputs.items())},
            "inputs": sorted({coder(components.pcollections[p].coder_id, components, context) for p in transform.inputs.values()}),
        }
        if transform.spec.urn == "beam:transform:pardo:v1":
            told |= _held(beam_runner_api_pb2.ParDoPayload.FromString(transform.spec.payload), components, context)
        parameters = dict(_parameters(transform))
        transforms[transform.unique_name] = told | ({"parameters": parameters} if parameters else {})
    return {"transforms": dict(sorted(transforms.items())), "windowing": strategies}


def coder(key: str, components: Any, context: PipelineContext) -> str:
    """A coder in words: what it is, and of what."""
    proto = components.coders[key]
    urn = proto.spec.urn.split(":")
    name = type(context.coders.get_by_id(key)).__name__ if "pickled_python" in proto.spec.urn else urn[2] if len(urn) > 2 else proto.spec.urn
    parts = [coder(c, components, context) for c in proto.component_coder_ids]
    return f"{name}[{', '.join(parts)}]" if parts else name


def _held(payload: Any, components: Any, context: PipelineContext) -> Graph:
    states = {name: _state(spec, components, context) for name, spec in sorted(payload.state_specs.items())}
    timers = {name: beam_runner_api_pb2.TimeDomain.Enum.Name(spec.time_domain) for name, spec in sorted(payload.timer_family_specs.items())}
    return ({"state": states} if states else {}) | ({"timers": timers} if timers else {})


def _state(spec: Any, components: Any, context: PipelineContext) -> str:
    kind = spec.WhichOneof("spec")
    told = getattr(spec, kind)
    coders = [coder(getattr(told, f.name), components, context) for f in told.DESCRIPTOR.fields if f.name.endswith("coder_id")]
    return f"{kind.removesuffix('_spec')} of {', '.join(coders)}"


def _windowing(strategy: Any, components: Any, context: PipelineContext) -> Graph:
    told = MessageToDict(strategy)
    told.pop("environmentId", None)
    return told | {"windowCoderId": coder(strategy.window_coder_id, components, context)}


def _parameters(transform: Any) -> Iterator[tuple[str, Any]]:
    """What our DoFns tell of themselves (DoFn.display_data)."""
    for data in transform.display_data:
        item = beam_runner_api_pb2.LabelledPayload.FromString(data.payload)
        if not item.namespace.startswith("apache_beam."):
            yield item.key, getattr(item, item.WhichOneof("value"))


def incompatible(old: Graph, new: Graph, mappings: dict[str, str]) -> Iterator[str]:
    """Why a job that runs the old graph could not be updated to the new one, in sentences; nothing where it could."""
    for name, was in old["transforms"].items():
        now = new["transforms"].get(mappings.get(name, name))
        holds = bool(was.get("state") or was.get("timers")) or was["kind"] in HOLDS
        if now is None:
            if name not in mappings:
                yield f"{name} is gone or renamed: add it to {MAPPINGS}"
            elif mappings[name]:
                yield f"{name} is mapped to {mappings[name]}, which is not there"
            elif holds:
                yield f"{name} holds state or data in flight, which would be lost"
            continue
        if was["kind"] != now["kind"]:
            yield f"{name} was {was['kind']}, is {now['kind']}"
        for kept in ("state", "timers"):
            for cell, spec in was.get(kept, {}).items():
                if now.get(kept, {}).get(cell) != spec:
                    yield f"{name}: {kept} {cell} was {spec}, is {now.get(kept, {}).get(cell, 'gone')}"
        if was["inputs"] != now["inputs"]:
            yield f"{name}: takes {', '.join(now['inputs'])}, took {', '.join(was['inputs'])}"
        if was.get("parameters") != now.get("parameters"):
            yield f"{name}: parameters were {was.get('parameters')}, are {now.get('parameters')}"
        for tag, output in was["outputs"].items():
            other = now["outputs"].get(tag)
            if other is None:
                yield f"{name}: output {tag} is gone"
                continue
            if other["coder"] != output["coder"]:
                yield f"{name}: output {tag} was {output['coder']}, is {other['coder']}"
            if old["windowing"][output["windowing"]] != new["windowing"][other["windowing"]]:
                yield f"{name}: output {tag} is windowed in another way"


def changed(old: Graph, new: Graph) -> Iterator[str]:
    """What is not as it was, in sentences."""
    for name in sorted(old["transforms"].keys() | new["transforms"].keys()):
        if name not in old["transforms"]:
            yield f"{name} is new"
        elif name not in new["transforms"]:
            yield f"{name} is gone"
        elif old["transforms"][name] != new["transforms"][name]:
            yield f"{name} has changed"
    if old["windowing"] != new["windowing"]:
        yield "the windowing has changed"


def read(name: str) -> Graph | None:
    path = GOLDEN / f"{name}.json"
    found: Graph | None = json.loads(path.read_text()) if path.exists() else None
    return found


def mappings() -> dict[str, str]:
    found: dict[str, str] = json.loads((GOLDEN / MAPPINGS).read_text())
    return found


def write(name: str, form: Graph) -> None:
    (GOLDEN / f"{name}.json").write_text(json.dumps(form, indent=1) + "\n")


def main(arguments: list[str]) -> int:
    broken = other = 0
    with tempfile.TemporaryDirectory() as folder:
        keys.make(Path(folder, "keys"))
        for contract in CONTRACTS:
            new, old = normal(streaming(contract, str(Path(folder, "keys"))).to_runner_api()), read(contract)
            why = list(incompatible(old, new, mappings())) if old else []
            what = list(changed(old, new)) if old else ["the graph is new"]
            for line in why:
                print(f"{contract}: INCOMPATIBLE: {line}")
            for line in what:
                print(f"{contract}: {line}")
            broken, other = broken + len(why), other + len(what)
            if "--drain" in arguments or ("--write" in arguments and not why):
                write(contract, new)
    if broken and "--drain" not in arguments:
        print("running jobs could not be updated to this version: take the change back, or map names, or drain them and say --drain")
        return 1
    return 1 if other and not arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

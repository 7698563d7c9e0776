"""A pipeline's graph in a normal form, and whether a job that runs one can be updated to another.

A job on Dataflow is updated by a new graph under the same job name; it finds state and data in flight by the full names of
transforms, and what was renamed is mapped (cloud.google.com/dataflow/docs/guides/updating-a-pipeline).
"""

from collections.abc import Iterator, Mapping
from typing import Any

from apache_beam.portability.api import beam_runner_api_pb2
from google.protobuf.json_format import MessageToDict
from google.protobuf.wrappers_pb2 import BytesValue

HOLDS = ("group_by_key", "combine_per_key", "combine_globally", "reshuffle", "pubsub_read", "read", "window_into")  # data or progress, by a runner's own state

Graph = dict[str, Any]
"""{"transforms": {full name: what it is}, "windowing": {name: strategy}}"""


def normal(proto: beam_runner_api_pb2.Pipeline) -> Graph:
    """Names, kinds, coders, windowing, state, timers and our parameters of the transforms: nothing that differs from one build to the next."""
    components = proto.components
    named: dict[str, str] = {}
    strategies: dict[str, Any] = {}
    for key, strategy in sorted(components.windowing_strategies.items()):
        told = _windowing(strategy, components)
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
            "outputs": {tag: {"coder": coder(p.coder_id, components), "windowing": named[p.windowing_strategy_id]} for tag, p in sorted(outputs.items())},
            "inputs": sorted({coder(components.pcollections[p].coder_id, components) for p in transform.inputs.values()}),
        }
        if transform.spec.urn == "beam:transform:pardo:v1":
            told |= _held(beam_runner_api_pb2.ParDoPayload.FromString(transform.spec.payload), components)
        parameters = dict(_parameters(transform))
        transforms[transform.unique_name] = told | ({"parameters": parameters} if parameters else {})
    return {"transforms": dict(sorted(transforms.items())), "windowing": strategies}


def coder(key: str, components: Any) -> str:
    """A coder in words: what it is, and of what."""
    proto = components.coders[key]
    urn = proto.spec.urn.split(":")
    name = _pickled(proto.spec.payload) if "pickled_python" in proto.spec.urn else urn[2] if len(urn) > 2 else proto.spec.urn
    parts = [coder(c, components) for c in proto.component_coder_ids]
    return f"{name}[{', '.join(parts)}]" if parts else name


def _pickled(payload: bytes) -> str:
    """The name of a pickled coder, which stands before the pickle (apache_beam.coders.coders.serialize_coder): it is not unpickled, for
    a graph may come out of a bucket that others write to."""
    name: bytes = BytesValue.FromString(payload).value.partition(b"$")[0]
    return name.decode()


def _held(payload: Any, components: Any) -> Graph:
    states = {name: _state(spec, components) for name, spec in sorted(payload.state_specs.items())}
    timers = {name: beam_runner_api_pb2.TimeDomain.Enum.Name(spec.time_domain) for name, spec in sorted(payload.timer_family_specs.items())}
    return ({"state": states} if states else {}) | ({"timers": timers} if timers else {})


def _state(spec: Any, components: Any) -> str:
    kind = spec.WhichOneof("spec")
    told = getattr(spec, kind)
    coders = [coder(getattr(told, f.name), components) for f in told.DESCRIPTOR.fields if f.name.endswith("coder_id")]
    return f"{kind.removesuffix('_spec')} of {', '.join(coders)}"


def _windowing(strategy: Any, components: Any) -> Graph:
    told: Graph = MessageToDict(strategy)
    told.pop("environmentId", None)
    return told | {"windowCoderId": coder(strategy.window_coder_id, components)}


def _parameters(transform: Any) -> Iterator[tuple[str, Any]]:
    """What our DoFns tell of themselves (DoFn.display_data)."""
    for data in transform.display_data:
        item = beam_runner_api_pb2.LabelledPayload.FromString(data.payload)
        if not item.namespace.startswith("apache_beam."):
            yield item.key, getattr(item, item.WhichOneof("value"))


def incompatible(old: Graph, new: Graph, mappings: Mapping[str, str]) -> Iterator[str]:
    """Why a job that runs the old graph could not be updated to the new one, in sentences; nothing where it could.

    mappings: {old name: new name}, "" for what is gone. Stricter than Dataflow's own check.
    """
    for name, was in old["transforms"].items():
        now = new["transforms"].get(mappings.get(name, name))
        holds = bool(was.get("state") or was.get("timers")) or was["kind"] in HOLDS
        if now is None:
            if name not in mappings:
                yield f"{name} is gone or renamed: map its name"
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

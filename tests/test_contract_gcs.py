"""A contract out of a bucket: the same rows as by the same files here, for batch and stream; what is wrong with it is told; and nothing of this machine
rides along in a graph."""

import base64
import bz2
import json
import pickle
import re
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import apache_beam as beam
import pytest
from apache_beam.portability.api import beam_runner_api_pb2

from pipelines import batch_graph, contracts, graph, stream_graph
from pipelines.__main__ import COMMANDS, main
from pipelines.flags import declared
from pipelines.keyfolder import open_keys
from pipelines.options import BatchOptions, StreamOptions
from pipelines.secret_keys import payload
from pipelines.sinks.bigquery import dataset
from pipelines.sinks.lake import Lake
from pipelines.sources.gcs import Object
from pipelines.sources.gcs_folder import File, folder
from pipelines.sources.listing import InputFile
from pipelines.sources.subscription import ReadSubscription
from pipelines.starting import Faults, means_of
from schemas import contract as schema
from schemas.contract import SHIPPED, Contract
from schemas.errors import Misconfigured
from tests.gcs_server import Storage
from tests.launcher import BUCKET, PROJECT, launch
from tests.runs import REPOSITORY
from tests.secret_server import VERSION, Service, serve
from tests.test_stream_graph import messages_of, sample, streamed
from transforms.onnx import OnnxHandler

FILES = ("contract.yaml", "event.avsc", "inspect.json", "deidentify.json", "model.json", "model.onnx", "window_model.json", "window_model.onnx", "sample.ndjson")


def upload(storage: Storage, name: str, to: str = "") -> str:
    """A shipped contract, as a user's own; answers where it is."""
    for file in FILES:
        if (SHIPPED / name / file).exists():
            storage.put("bucket", f"contracts/{to or name}/{file}", (SHIPPED / name / file).read_bytes())
    return f"gs://bucket/contracts/{to or name}"


@pytest.fixture(scope="module")
def storage(tmp_path_factory) -> Iterator[Storage]:
    with Storage(tmp_path_factory.mktemp("gcs"), "bucket", "closed") as storage:
        storage.forbidden.add("closed")
        for name in ("census", "telemetry"):
            upload(storage, name)
        yield storage


@pytest.fixture
def own(storage) -> str:
    """A copy of census that a test may break."""
    return upload(storage, "census", "own")


def told(storage: Storage, place: str) -> list[str]:
    with pytest.raises(Misconfigured) as raised:
        contracts.load(place, storage_endpoint=storage.url)
    return [str(fault) for fault in raised.value.faults]


# What it answers

def plain(contract: Contract) -> dict[str, object]:
    """All that a contract says, but for where it lies."""
    windows = contract.windows and replace(contract.windows, model=contract.windows.model and replace(contract.windows.model, file=None))
    return vars(replace(contract, place=None, model=contract.model and replace(contract.model, file=None), windows=windows))


@pytest.mark.parametrize("name", ["census", "telemetry"])
def test_it_is_the_contract_that_the_same_files_are_here(storage, name) -> None:
    here, there = contracts.load(name), contracts.load(f"gs://bucket/contracts/{name}/", storage_endpoint=storage.url)
    assert plain(here) == plain(there) and there.folder == f"gs://bucket/contracts/{name}" and here.folder == f"schemas/{name}"


def test_batch_stores_the_same_rows(storage, census, key_folder, tmp_path, capsys) -> None:
    books = []
    for place in ("census", "gs://bucket/contracts/census"):
        out = tmp_path / place.rpartition("/")[2] / place[:2]
        assert main(["batch", f"--contract={place}", f"--input={census}/*.ndjson", f"--output={out}", f"--keys={key_folder}", f"--storage_endpoint={storage.url}",
                     "--json"]) == 0
        row = json.loads(capsys.readouterr().out.splitlines()[-1])
        events = Lake.reader(str(out)).query("select * exclude (run) from events order by application_id").to_pylist()
        books.append(({k: row[k] for k in ("read", "stored", "repeated", "refused", "reasons", "fingerprint", "contract")}, events))
    assert books[0] == books[1] and books[0][0]["stored"] == len(books[0][1]) > 1000
    assert all(0 <= e["score"] <= 1 for e in books[1][1])


@pytest.mark.parametrize(("name", "rows"), [("census", 8), ("telemetry", 10)])
def test_the_streaming_graph_stores_the_same_rows(storage, tmp_path, ring, name, rows) -> None:
    """census scores events, telemetry windows."""
    lines = sample(tmp_path, name, rows)
    messages = messages_of(lines, contracts.load(name).time)
    found = [streamed(place, messages, ring, storage.url) for place in (name, f"gs://bucket/contracts/{name}")]
    here, there = [{sink: sorted(str({k: v for k, v in row.items() if k != "run"}) for row in got.get(sink, ())) for sink in ("events", "windows")} for got in found]
    assert here == there and len(here["events"]) == rows


# What is wrong

@pytest.mark.parametrize("file", ["event.avsc", "deidentify.json", "model.json", "model.onnx"])
def test_a_file_that_is_missing(storage, own, file) -> None:
    (storage.folder / "bucket" / "contracts" / "own" / file).unlink()
    found = told(storage, own)
    assert any(f"{own}/model.json: uri: names a file that is missing" in fault if file == "model.onnx" else f"{own}/{file}: is missing" in fault for fault in found)


def test_all_that_is_wrong_is_told_at_once(storage, own) -> None:
    storage.put("bucket", "contracts/own/event.avsc", b"\xff")
    storage.put("bucket", "contracts/own/inspect.json", b"x" * (schema.MAX_BYTES + 1))
    storage.put("bucket", "contracts/own/model.onnx", (SHIPPED / "census/model.onnx").read_bytes() + b"\0")
    found = "\n".join(told(storage, own))
    assert f"{own}/event.avsc: cannot be read as UTF-8 text" in found and f"{own}/inspect.json: holds more than 5,000,000 bytes" in found
    assert f"{own}/model.json: sha256: is not the digest of the file" in found and "model.json: size" in found


@pytest.mark.parametrize(("place", "expected"), [
    ("gs://closed/mine", "--contract: gs://closed/mine cannot be listed; give the account roles/storage.objectViewer on the bucket"),
    ("gs://nowhere/mine", "--contract: gs://nowhere/mine cannot be listed; check the name of the bucket: it is not there"),
    ("gs://bucket/contracts", "--contract: gs://bucket/contracts holds no file; give the folder that holds contract.yaml"),
    ("gs://", "--contract: gs: cannot be listed; give gs://BUCKET/"), ("gs://b*/mine", "--contract: gs://b*/mine cannot be listed; give gs://BUCKET/"),
])
def test_a_place_that_is_none(storage, place, expected) -> None:
    (fault,) = told(storage, place)
    assert fault.startswith(expected)


def test_what_lies_deeper_is_no_part_of_it(storage, own) -> None:
    storage.put("bucket", "contracts/deep/sub/contract.yaml", b"name: own\n")
    assert "holds no file" in told(storage, "gs://bucket/contracts/deep")[0]


def test_a_file_that_is_replaced_while_it_is_read(storage, own) -> None:
    listed = folder(own, storage.url)
    for file in ("event.avsc", "deidentify.json"):
        storage.put("bucket", f"contracts/own/{file}", (SHIPPED / "census" / file).read_bytes())
    with pytest.raises(Misconfigured) as raised:
        schema.read(listed)
    found = [str(fault) for fault in raised.value.faults if "was replaced or deleted after it was listed" in str(fault)]
    assert [fault.partition(": ")[0] for fault in found] == [f"{own}/event.avsc", f"{own}/deidentify.json"] and "has a folder of its own" in found[0]


def test_a_file_that_is_stored_packed(storage) -> None:
    packed = File("gs://bucket/contracts/own/event.avsc", Object("gs://bucket/contracts/own/event.avsc", 10, 1, "", True), storage.url)
    with pytest.raises(Misconfigured, match="is stored with Content-Encoding gzip; upload it as it is"):
        packed.open("rb")


def test_a_model_that_is_not_the_pinned_one_is_told_in_the_worker(storage, own) -> None:
    """A worker that starts later fetches the model that was checked, or says why not."""
    pickled = pickle.dumps(OnnxHandler(contracts.load(own, storage_endpoint=storage.url).model))
    assert pickle.loads(pickled).load_model() is not None
    model = (SHIPPED / "census" / "model.onnx").read_bytes()
    storage.put("bucket", "contracts/own/model.onnx", model)  # the same bytes, another generation
    with pytest.raises(Misconfigured, match=f"{own}/model.onnx: was replaced or deleted after it was listed, and the bucket keeps no versions; start or update"):
        pickle.loads(pickled).load_model()
    storage.generations["bucket", "contracts/own/model.onnx"] = pickle.loads(pickled).model.file.found.generation
    assert pickle.loads(pickled).load_model() is not None
    (storage.folder / "bucket" / "contracts" / "own" / "model.onnx").write_bytes(model[:-1] + bytes([model[-1] ^ 1]))
    with pytest.raises(Misconfigured, match=r"is not the model that its descriptor names \(SHA-256 differs\)"):
        pickle.loads(pickled).load_model()
    storage.forbidden.add("bucket")
    try:
        with pytest.raises(Misconfigured, match="may not be read; give the account roles/storage.objectViewer"):
            pickle.loads(pickled).load_model()
    finally:
        storage.forbidden.discard("bucket")


def test_a_bucket_that_keeps_versions_has_the_model_of_a_running_job(tmp_path) -> None:
    with Storage(tmp_path / "versions", "bucket") as storage:
        storage.versioned.add("bucket")
        handler = pickle.dumps(OnnxHandler(contracts.load(upload(storage, "census", "own"), storage_endpoint=storage.url).model))
        storage.put("bucket", "contracts/own/model.onnx", b"another model")
        assert pickle.loads(handler).load_model() is not None
        assert "model.json: sha256: is not the digest of the file" in "".join(told(storage, "gs://bucket/contracts/own")), "a new start sees the new one"


# Every command takes it

TAKERS = [name for name, command in COMMANDS.items() if "NAME|DIR|gs://BUCKET/FOLDER" in [spec.metavar for option, _, _, spec in declared(command.options) if option == "contract"]]


def test_the_commands_that_take_a_contract() -> None:
    assert set(TAKERS) == {"batch", "stream", "replay", "windows", "reidentify", "tables", "describe", "plan", "inspect", "backfill"}


@pytest.mark.parametrize("command", sorted(set(TAKERS) - {"replay"}))
def test_it_is_looked_for_in_the_bucket_by_every_command(storage, tmp_path, capsys, command) -> None:
    values = {"input": "gs://bucket/{partition}/*", "from": "2026-03-04", "to": "2026-03-04", "subscription": "projects/p/subscriptions/s", "rate": "5", "output": "bq://project-1.tables",
              "purpose": "a test", "columns": "email", "destination": str(tmp_path / "d"), "field": "text",
              "sql": "select 1"}
    options = declared(COMMANDS[command].options)
    needed = {name for name, _, _, spec in options if spec.required and name != "contract"} | ({"input", "field"} if command == "inspect" else set())
    arguments = [f"--{name}={values[name]}" for name, _, _, spec in options if name in needed and not spec.positional]
    places = [values[name] for name, _, _, spec in options if spec.positional]
    assert main([command, *places, *arguments, "--contract=gs://nowhere/mine", f"--storage_endpoint={storage.url}"]) == 2
    assert "gs://nowhere/mine cannot be listed; check the name of the bucket" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["describe"], ["describe", "--format=bigquery"], ["plan", "--rate=100", "--json"],
                                       ["inspect", f"--input={SHIPPED}/weblog/sample.ndjson", "--field=agent"]])
def test_tools_answer_the_same(storage, capsys, arguments) -> None:
    answers = []
    for place in ("telemetry", "gs://bucket/contracts/telemetry"):
        assert main([*arguments, f"--contract={place}", f"--storage_endpoint={storage.url}"]) == 0
        answers.append(capsys.readouterr().out.replace(str(SHIPPED), "schemas"))
    assert answers[0] == answers[1] and len(answers[0]) > 100


# On Dataflow

@pytest.fixture(scope="module")
def secrets(key_folder) -> Iterator[str]:
    server, address = serve(Service(payload(key_folder)))
    yield address
    server.stop(0)


def graphs(place: str, storage: str, secrets: str) -> dict[str, bytes]:
    """Both graphs for Dataflow, as they are handed over."""
    stream = StreamOptions(contract=place, subscription="projects/project-1/subscriptions/events", output="bq://project-1.tables", project="p", keys=VERSION, secrets_endpoint=secrets,
                           storage_endpoint=storage)
    batch = BatchOptions(contract=place, input="gs://raw/*", output="bq://project-1.tables", staging="gs://bucket/load", project="p", keys=VERSION, secrets_endpoint=secrets,
                         storage_endpoint=storage)
    contract, found = contracts.load(place, storage_endpoint=storage), {}
    for name, options in {"stream": stream, "batch": batch}.items():
        means = means_of(options, contract, Faults(), lambda: open_keys(VERSION, False, secrets))
        pipeline = beam.Pipeline("FnApiRunner")
        if name == "stream":
            graph.build(pipeline, stream_graph.parts(stream, contract, means, dataset("bq://project-1.tables"), ReadSubscription(stream.subscription)))
        else:
            files = (InputFile("gs://raw/a.ndjson", 1_000, 0, "ndjson", 1),)
            graph.build(pipeline, batch_graph.parts(batch, contract, means, files, batch_graph.Tables(dataset("bq://project-1.tables"), "EU", batch.staging), "run"))
        found[name] = pipeline.to_runner_api().SerializeToString()
    return found


def functions(graph: bytes) -> Iterator[bytes]:
    """What each function of a graph holds, unpacked."""
    proto = beam_runner_api_pb2.Pipeline.FromString(graph).components
    yield graph
    for transform in proto.transforms.values():
        if transform.spec.urn == "beam:transform:pardo:v1":
            packed = beam_runner_api_pb2.ParDoPayload.FromString(transform.spec.payload).do_fn.payload
            yield bz2.decompress(base64.b64decode(packed)) if packed else b""


@pytest.mark.parametrize("place", ["census", "gs://bucket/contracts/census", str(SHIPPED / "census")])
def test_a_graph_holds_no_path_of_this_machine(storage, secrets, place) -> None:
    """But for that of a contract's folder here, which only runs here: so it is known that one would be found."""
    for name, found in graphs(place, storage.url, secrets).items():
        parts = list(functions(found))
        assert len(parts) > 10 and any(b"model.onnx" in part for part in parts), name
        places = {str(path) for path in (REPOSITORY, sys.prefix, sysconfig.get_path("purelib"), storage.folder, tempfile.gettempdir(), Path.home())}
        here = "|".join(map(re.escape, places - {"/"}))  # the home of who has none, and all of gs://
        paths = {path.decode() for part in parts for path in re.findall(rf"(?:{here})/[\w./-]*".encode(), part)}
        ours = {path for path in paths if not path.endswith(".py")}  # a function that is pickled whole says in which file it was written, for tracebacks
        ours |= {"a pathlib.Path, which is pickled in pieces" for part in parts if b"PosixPath" in part}
        assert bool(ours) == place.startswith("/"), (name, ours)


def test_a_worker_finds_the_shipped_model_where_its_package_is(tmp_path) -> None:
    """In a process whose packages lie elsewhere."""
    pickled = pickle.dumps(OnnxHandler(contracts.load("census").model))
    assert str(REPOSITORY).encode() not in pickled
    for package in ("schemas", "transforms"):
        (tmp_path / package).mkdir()
        for file in (REPOSITORY / package).iterdir():
            (tmp_path / package / file.name).symlink_to(file)
    code = "import pickle, sys, schemas; h = pickle.loads(bytes.fromhex(sys.stdin.read())); h.load_model(); print(schemas.__file__, h.model.file)"
    done = subprocess.run([sys.executable, "-c", code], input=pickled.hex(), cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0 and done.stdout.split() == [f"{tmp_path}/schemas/__init__.py", "schemas/census/model.onnx"], done.stderr


def test_the_launcher_serves_a_contract_that_its_image_has_not(tmp_path, secrets) -> None:
    """main.py with the flags of a launcher, and a contract that no image holds."""
    with Storage(tmp_path / "gcs", BUCKET, "bucket") as storage:
        place = upload(storage, "census", "own")
        storage.put("bucket", "contracts/own/contract.yaml", storage.read("bucket", "contracts/own/contract.yaml").replace(b"name: census", b"name: own_census"))
        done = launch("stream", storage, tmp_path, {"contract": place, "subscription": f"projects/{PROJECT}/subscriptions/s-1", "output": f"bq://{PROJECT}.tables",
                                                    "keys": VERSION}, {"SECRET_MANAGER_EMULATOR_HOST": secrets})
        assert done.code == 0 and done.job and done.job["labels"]["contract"] == "own_census", done.text
        (staged,) = [storage.read(BUCKET, name) for name in storage.names(BUCKET) if name.endswith("/pipeline.pb")]
        assert any(place.encode() in part for part in functions(staged)) and not any(str(tmp_path).encode() in part for part in functions(staged))


def test_a_folder_of_this_machine_is_refused_for_dataflow() -> None:
    (fault,) = contracts.out_of_reach(str(SHIPPED / "census"))
    assert fault.where == "--contract" and "copy it to Cloud Storage and give gs://BUCKET/FOLDER" in fault.remedy
    assert contracts.out_of_reach("census") == contracts.out_of_reach("gs://bucket/contracts/census") == []


def test_the_command_line_refuses_it_too(capsys, key_folder) -> None:
    where = SimpleNamespace(stream=["--subscription=projects/p-1/subscriptions/s-1"], batch=["--input=gs://raw/*", "--staging=gs://bucket/load"])
    for job, more in vars(where).items():
        assert main([job, f"--contract={SHIPPED / 'census'}", "--output=bq://p-1.d", "--runner=DataflowRunner", "--project=p-1", "--region=europe-west1",
                     "--temp_location=gs://bucket/temp", f"--keys={key_folder}", "--dry_run=true", *more]) == 2
        assert "census is a folder of this machine, where no worker of Dataflow's finds it" in capsys.readouterr().err

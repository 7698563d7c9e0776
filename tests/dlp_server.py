"""A DLP server on this machine, over gRPC as Google's, for tests and demonstrations: python -m tests.dlp_server --port=8085

It keeps the published limits and quotas, computes with the local engine, and commits faults on request (dlp_faults).
Messages follow the service's own where they are known.
"""

import argparse
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import grpc
from google.cloud.dlp_v2 import types

from tests import dlp_tables, grpc_serving
from tests.dlp_faults import ANSWERS, STATUSES, FaultPlan
from tests.dlp_tables import Invalid
from tests.grpc_serving import stay
from transforms import keys
from transforms.detectors.inspector import Inspector as Detectors
from transforms.engines.free_text import Inspector
from transforms.keys import Keys

Code = grpc.StatusCode
MOST_BYTES, MOST_CELLS, MOST_FINDINGS, MOST_TRANSFORMATIONS = 524_288, 50_000, 3_000, 100
SERVICE = "google.privacy.dlp.v2.DlpService"
NOTHING_TO_FIND = types.InspectConfig(info_types=[{"name": "EMAIL_ADDRESS"}])


class Service:
    """The service's methods, and what was asked of it: `calls` holds (method, bytes of the request, cells); at_once is the
    most calls that it was busy with at one time.

    latency: seconds that every call takes; poison: a text that is answered 400 wherever it stands.
    """

    def __init__(self, ring: Keys, plan: FaultPlan | None = None, requests_per_minute: int | None = None, latency: float = 0.0,
                 inspector: Callable[[types.InspectConfig], Inspector] = Detectors.from_config, poison: str = "",
                 clock: Callable[[], float] = time.monotonic) -> None:
        self.keys, self.plan, self.latency, self.poison = ring, plan or FaultPlan(), latency, poison
        self.requests_per_minute, self.clock = requests_per_minute, clock
        self.templates: dict[str, types.DeidentifyTemplate | types.InspectTemplate] = {}
        self.calls: list[tuple[str, int, int]] = []
        self.stopping, self.at_once, self._busy = threading.Event(), 0, 0
        self._inspector_of, self._inspectors = inspector, dict[bytes, Inspector]()
        self._recent, self._lock = deque[float](), threading.Lock()

    def deidentify(self, request: types.DeidentifyContentRequest, context: grpc.ServicerContext) -> types.DeidentifyContentResponse:
        raw = types.DeidentifyContentRequest.pb(request)
        fault = self._enter("deidentify", raw, raw.item.table, context)
        config, inspect = self._configs(request, context)
        table, response = raw.item.table, types.DeidentifyContentResponse.pb(types.DeidentifyContentResponse())
        if raw.item.WhichOneof("data_item") == "value":
            table, config = _as_table(raw.item.value), _of_text(config)
        number = sum(max(1, len(f.info_type_transformations.transformations)) for f in config.record_transformations.field_transformations)
        if number > MOST_TRANSFORMATIONS:
            context.abort(Code.INVALID_ARGUMENT, f"Too many transformations: {number}. The limit is {MOST_TRANSFORMATIONS}.")
        try:
            found = dlp_tables.deidentify(table, config, self._inspector(inspect), self.keys, response)
        except Invalid as invalid:
            context.abort(Code.INVALID_ARGUMENT, str(invalid))
        if found > MOST_FINDINGS:
            context.abort(Code.INVALID_ARGUMENT, "Too many findings to de-identify. Retry with a smaller request.")
        if table is not raw.item.table:
            text = response.item.table.rows[0].values[0].string_value
            response.item.Clear()
            response.item.value = text
        if fault in ANSWERS and len(table.rows):
            ANSWERS[fault](response, table)
        return types.DeidentifyContentResponse.wrap(response)

    def reidentify(self, request: types.ReidentifyContentRequest, context: grpc.ServicerContext) -> types.ReidentifyContentResponse:
        raw = types.ReidentifyContentRequest.pb(request)
        self._enter("reidentify", raw, raw.item.table, context)
        config = types.DeidentifyConfig(request.reidentify_config)
        if request.reidentify_template_name:
            _merge(config, self._template(request.reidentify_template_name, context).deidentify_config)
        response = types.ReidentifyContentResponse.pb(types.ReidentifyContentResponse())
        try:
            dlp_tables.reidentify(raw.item.table, config, self.keys, response)
        except Invalid as invalid:
            context.abort(Code.INVALID_ARGUMENT, str(invalid))
        return types.ReidentifyContentResponse.wrap(response)

    def inspect(self, request: types.InspectContentRequest, context: grpc.ServicerContext) -> types.InspectContentResponse:
        raw = types.InspectContentRequest.pb(request)
        self._enter("inspect", raw, raw.item.table, context)
        config = types.InspectConfig(request.inspect_config)
        if request.inspect_template_name:
            _merge(config, self._template(request.inspect_template_name, context).inspect_config)
        batch, _ = dlp_tables.as_batch(raw.item.table if raw.item.WhichOneof("data_item") == "table" else _as_table(raw.item.value))
        most = min(config.limits.max_findings_per_request or MOST_FINDINGS, MOST_FINDINGS)
        result, inspector = types.InspectResult(), self._inspector(config)
        for name in batch.schema.names:
            texts = batch[name]
            for row, findings in inspector.find_column(texts) if texts.type == "string" else ():
                for f in findings:
                    if len(result.findings) == most:
                        result.findings_truncated = True
                        return types.InspectContentResponse(result=result)
                    result.findings.append(_finding(f, texts[row].as_py(), name, row, config.include_quote))
        return types.InspectContentResponse(result=result)

    def get_template(self, request: Any, context: grpc.ServicerContext) -> Any:
        return self._template(request.name, context)

    def counted(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """The method, whose calls count for at_once: each until its answer is made, before a client can ask again."""
        def answer(request: Any, context: grpc.ServicerContext) -> Any:
            with self._lock:
                self._busy += 1
                self.at_once = max(self.at_once, self._busy)
            try:
                return method(request, context)
            finally:
                with self._lock:
                    self._busy -= 1

        return answer

    def _enter(self, method: str, raw: Any, table: Any, context: grpc.ServicerContext) -> str:
        """Quota, faults and limits; the fault to commit on the answer."""
        cells, now = len(table.headers) * len(table.rows), self.clock()
        with self._lock:
            self.calls.append((method, raw.ByteSize(), cells))
            while self._recent and self._recent[0] <= now - 60:
                self._recent.popleft()
            over = self.requests_per_minute is not None and len(self._recent) >= self.requests_per_minute
            if not over:
                self._recent.append(now)
        fault = self.plan.next()
        if over:
            context.abort(*STATUSES["429"])
        self.stopping.wait(self.latency + (self.plan.seconds if fault in ("slow", "hang") else 0))
        if fault == "hang":
            context.abort(*STATUSES["504"])
        if fault in STATUSES:
            context.abort(*STATUSES[fault])
        if raw.ByteSize() > MOST_BYTES:
            context.abort(Code.INVALID_ARGUMENT, f"Request payload size exceeds the limit: {MOST_BYTES} bytes.")
        if cells > MOST_CELLS:
            context.abort(Code.INVALID_ARGUMENT, f"Too many table values: {cells}. Retry with a smaller request.")
        if self.poison and any(v.string_value == self.poison for row in table.rows for v in row.values):
            context.abort(Code.INVALID_ARGUMENT, "A value cannot be transformed.")
        return fault

    def _configs(self, request: types.DeidentifyContentRequest, context: grpc.ServicerContext) -> tuple[Any, Any]:
        """As DLP does it: a template and what stands in the request are merged, lists appended."""
        config, inspect = types.DeidentifyConfig(request.deidentify_config), types.InspectConfig(request.inspect_config)
        if request.deidentify_template_name:
            _merge(config, self._template(request.deidentify_template_name, context).deidentify_config)
        if request.inspect_template_name:
            _merge(inspect, self._template(request.inspect_template_name, context).inspect_config)
        return config, inspect

    def _template(self, name: str, context: grpc.ServicerContext) -> Any:
        if name not in self.templates:
            context.abort(*STATUSES["404"])
        return self.templates[name]

    def add(self, name: str, template: types.DeidentifyTemplate | types.InspectTemplate) -> None:
        template.name, template.update_time = name, datetime(2026, 1, 1, tzinfo=timezone.utc)
        self.templates[name] = template

    def _inspector(self, config: types.InspectConfig) -> Inspector:
        config = config if config.info_types or config.custom_info_types else NOTHING_TO_FIND
        key = types.InspectConfig.serialize(config)
        with self._lock:
            if key not in self._inspectors:
                self._inspectors[key] = self._inspector_of(config)
            return self._inspectors[key]


def _merge(into: Any, other: Any) -> None:
    type(into).pb(into).MergeFrom(type(other).pb(other))


def _as_table(text: str) -> Any:
    return types.Table.pb(types.Table(headers=[{"name": "text"}], rows=[{"values": [{"string_value": text}]}]))


def _of_text(config: types.DeidentifyConfig) -> types.DeidentifyConfig:
    return types.DeidentifyConfig(record_transformations={"field_transformations": [
        {"fields": [{"name": "text"}], "info_type_transformations": config.info_type_transformations}]})


def _finding(found: Any, text: str, name: str, row: int, quote: bool) -> types.Finding:
    before, inside = len(text[: found.start].encode()), len(text[found.start : found.end].encode())
    return types.Finding(
        info_type={"name": found.info_type}, likelihood=int(found.likelihood), quote=text[found.start : found.end] if quote else "",
        location={"byte_range": {"start": before, "end": before + inside}, "codepoint_range": {"start": found.start, "end": found.end},
                  "content_locations": [{"record_location": {"field_id": {"name": name}, "table_location": {"row_index": row}}}]})


def serve(service: Service, port: int = 0, workers: int = 32) -> tuple[grpc.Server, str]:
    """(the server, started, its HOST:PORT)."""
    return grpc_serving.serve(SERVICE, {
        "DeidentifyContent": (service.counted(service.deidentify), types.DeidentifyContentRequest, types.DeidentifyContentResponse),
        "ReidentifyContent": (service.counted(service.reidentify), types.ReidentifyContentRequest, types.ReidentifyContentResponse),
        "InspectContent": (service.counted(service.inspect), types.InspectContentRequest, types.InspectContentResponse),
        "GetDeidentifyTemplate": (service.get_template, types.GetDeidentifyTemplateRequest, types.DeidentifyTemplate),
        "GetInspectTemplate": (service.get_template, types.GetInspectTemplateRequest, types.InspectTemplate)}, port, workers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8085)
    parser.add_argument("--keys", default="", help="key folder that stands for Cloud KMS; a new one for each start where it is not given")
    parser.add_argument("--requests_per_minute", type=int, default=600)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds a call")
    parser.add_argument("--fault", default="", help=f"one of {', '.join([*STATUSES, 'slow', 'hang', *ANSWERS])}")
    parser.add_argument("--share", type=float, default=0.1, help="of the calls that go wrong")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long slow and hung calls take")
    given = parser.parse_args()
    folder = Path(given.keys or Path(tempfile.mkdtemp()) / "keys")
    if not (folder / keys.MASTER).exists():
        keys.make(folder)
    plan = FaultPlan(given.fault, given.share, seconds=given.seconds)
    try:
        server, address = serve(Service(Keys(str(folder)), plan, given.requests_per_minute, given.latency), given.port)
    except RuntimeError:
        parser.error(f"port {given.port} is taken; give another --port")
    stay(server, f"DLP at {address}, {given.requests_per_minute} requests a minute")


if __name__ == "__main__":
    main()

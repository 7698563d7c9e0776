"""What an error that no one foresaw says to Beam, which logs it."""

import copy
import logging
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.internal.cloudpickle import cloudpickle
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.transforms.userstate import TimerSpec, on_timer

from schemas.errors import Transient
from transforms.unquoted import unquote, unquoted

SECRET = "ssn 123-45-6789"


class Fails(beam.DoFn):
    def __init__(self, where: str) -> None:
        self.where = where

    def setup(self) -> None:
        self._fail("setup")

    def start_bundle(self) -> None:
        self._fail("start_bundle")

    def process(self, element: Any, window: Any = beam.DoFn.WindowParam) -> Iterator[str]:
        self._fail("process")
        yield f"{element} {type(window).__name__}"

    def finish_bundle(self) -> None:
        self._fail("finish_bundle")

    def _fail(self, where: str) -> None:
        if where == self.where:
            raise KeyError(SECRET)


class FailsLater(beam.DoFn):
    DUE = TimerSpec("due", beam.TimeDomain.WATERMARK)

    def process(self, element: tuple[str, str], due: Any = beam.DoFn.TimerParam(DUE)) -> None:
        due.set(1)

    @on_timer(DUE)
    @unquoted
    def late(self) -> None:
        raise KeyError(SECRET)


class Foreseen(beam.DoFn):
    def process(self, element: Any) -> None:
        raise Transient("the service is out of reach")


def quotes(element: Any) -> str:
    raise ValueError(f"{element} {SECRET}")


def told(caplog: pytest.LogCaptureFixture, step: beam.PTransform, wrap: bool) -> str:
    """All that is logged and raised."""
    pipeline = beam.Pipeline("FnApiRunner")
    pipeline | beam.Create([("a", "b")]) | "Step" >> step
    if wrap:
        unquote(pipeline)
    with caplog.at_level(logging.DEBUG), pytest.raises(Exception) as raised:
        pipeline.run().wait_until_finish()
    error: BaseException | None = raised.value
    texts = [caplog.text]
    while error is not None:
        texts.append(repr(error))
        error = error.__cause__
    return "\n".join(texts)


STEPS = {**{where: beam.ParDo(Fails(where)) for where in ("setup", "start_bundle", "process", "finish_bundle")}, "map": beam.Map(quotes)}


@pytest.mark.parametrize("name", STEPS)
def test_what_is_logged_and_raised_says_where_and_not_what(name, caplog) -> None:
    assert SECRET in told(caplog, copy.deepcopy(STEPS[name]), wrap=False), "the control: Beam left to itself"
    caplog.clear()
    said = told(caplog, STEPS[name], wrap=True)
    assert SECRET not in said and "test_unquoted.py" in said and ("ValueError" if name == "map" else "KeyError") in said


def test_a_timers_method_is_wrapped_where_it_stands(caplog) -> None:
    said = told(caplog, beam.ParDo(FailsLater()), wrap=True)
    assert SECRET not in said and "KeyError" in said and "late" in said


def test_an_error_of_ours_passes_as_it_is(caplog) -> None:
    assert "the service is out of reach" in told(caplog, beam.ParDo(Foreseen()), wrap=True)


def test_a_wrapped_pipeline_answers_as_before() -> None:
    pipeline = beam.Pipeline("FnApiRunner")
    found = pipeline | beam.Create(["a", "b"]) | beam.ParDo(Fails("nowhere")) | beam.Map(str.upper)
    assert_that(found, equal_to(["A GLOBALWINDOW", "B GLOBALWINDOW"]))
    unquote(pipeline)
    pipeline.run().wait_until_finish()


def test_a_wrapped_method_is_pickled_by_its_name_alone() -> None:
    """A kept graph pickles and unpickles its DoFns in every run: code in them is dear."""
    steps = [Fails("process"), Foreseen()]
    pipeline = beam.Pipeline("FnApiRunner")
    pipeline | beam.Create(["a"]) | beam.ParDo(steps[0]) | beam.ParDo(steps[1])
    unquote(pipeline)
    assert b"_make_function" in cloudpickle.dumps(unquoted(Fails.process)), "the control: what code looks like"
    for step in steps:
        pickled = cloudpickle.dumps(step)
        assert b"_make_function" not in pickled
        with pytest.raises(Exception) as raised:
            list(cloudpickle.loads(pickled).process("a") or ())
        assert SECRET not in repr(raised.value), "and wraps when it is back"


def test_what_a_dofn_does_not_do_is_not_wrapped() -> None:
    step = Foreseen()
    pipeline = beam.Pipeline("FnApiRunner")
    pipeline | beam.Create(["a"]) | beam.ParDo(step)
    unquote(pipeline)
    assert {name for name in ("setup", "start_bundle", "process", "finish_bundle", "teardown") if name in vars(step)} == {"process"}

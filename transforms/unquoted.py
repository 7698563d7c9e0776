"""Errors without what they say: the text of an exception may hold a row, and Beam's workers log it.

    @unquoted           on a timer's method; every other method of a DoFn is wrapped by
    unquote(pipeline)   once it is built, Beam's own DoFns among them

Errors of our own classes pass as they are: their texts say the field and the rule, never the row.
"""

import errno
import functools
import inspect
import re
import traceback
from collections.abc import Callable
from types import MethodType
from typing import Any, TypeVar

import apache_beam as beam
from apache_beam.pipeline import AppliedPTransform, PipelineVisitor

T = TypeVar("T", bound=Callable[..., Any])
_OURS = ("pipelines.", "transforms.", "schemas.")
_METHODS = ("setup", "start_bundle", "process", "finish_bundle", "teardown")


class Bug(Exception):
    """An error that no one foresaw: its type, and where it happened."""


def frames(error: BaseException, most: int = 8) -> str:
    """The error's type, its causes' types (and whether it is a full disk), and the innermost places in the code, file:line function; of a Bug what it says."""
    types: list[str] = []
    seen: BaseException | None = error
    while seen is not None and len(types) < 5:
        if isinstance(seen, Bug):
            return str(seen)
        full = isinstance(seen, OSError) and seen.errno == errno.ENOSPC  # the one thing that somebody can do something about
        types.append(f"{type(seen).__name__} (the disk is full)" if full else type(seen).__name__)
        seen = seen.__cause__ or seen.__context__
    places = [f"{_short(f.filename)}:{f.lineno} {f.name}" for f in traceback.extract_tb(error.__traceback__)]
    return f"{' from '.join(types)} at {' < '.join(reversed(places[-most:]))}"


def _short(path: str) -> str:
    return re.sub(r".*/(pipelines|transforms|schemas|apache_beam)/", r"\1/", path)


def unquoted(method: T) -> T:
    """The method, whose unforeseen errors become Bugs."""
    run: Any
    if inspect.isgeneratorfunction(method):
        @functools.wraps(method)
        def run(*given: Any, **named: Any) -> Any:
            try:
                yield from method(*given, **named)
            except Exception as error:  # whatever it is: not a word of it goes on
                raise _told(error) from None
    else:
        @functools.wraps(method)
        def run(*given: Any, **named: Any) -> Any:
            try:
                return method(*given, **named)
            except Exception as error:
                raise _told(error) from None
    return run  # type: ignore[no-any-return]


def _told(error: Exception) -> Exception:
    return error if type(error).__module__.startswith(_OURS) else Bug(frames(error))


def unquote(pipeline: beam.Pipeline) -> None:
    """Wraps the methods of all DoFns of a pipeline, but for those of timers: Beam takes these from the class alone."""
    pipeline.visit(_Unquote())


class _Unquote(PipelineVisitor):
    def visit_transform(self, applied: AppliedPTransform) -> None:
        fn = applied.transform.fn if isinstance(applied.transform, beam.ParDo) else None
        for name in _METHODS if fn is not None else ():
            method = getattr(type(fn), name)
            if name in fn.__dict__:  # Beam's Map keeps the function that it was given so
                setattr(fn, name, _Unquoted(fn.__dict__[name]))
            elif method is not getattr(beam.DoFn, name):  # a bound method is copied with its object; a function that held it would not be
                setattr(fn, name, MethodType(_Unquoted(method), fn))


class _Unquoted:
    """The method, `unquoted`; pickled by the method's name, where a function made here would be pickled with its code: Beam pickles and
    unpickles them all in every run of a kept graph, and eighty such functions took a sixth of the CPU of a run of 200 messages.
    """

    def __init__(self, method: Callable[..., Any]) -> None:
        self._run = unquoted(method)
        self.__dict__ |= self._run.__dict__  # what Beam asks a method for, its signature by way of __wrapped__

    def __call__(self, *given: Any, **named: Any) -> Any:
        return self._run(*given, **named)

    def __reduce__(self) -> tuple[type, tuple[Any]]:
        return _Unquoted, (self.__wrapped__,)  # type: ignore[attr-defined]

"""The parts that a config's custom infoTypes and rules are made of, each read with its faults."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import re2
from google.cloud.dlp_v2.types import CustomInfoType, ExclusionRule

from transforms.detectors.custom import Dictionary
from transforms.detectors.finder import compile_regex
from transforms.detectors.info_type import Likelihood
from transforms.detectors.rules import ByDictionary, ByHotword, ByInfoTypes, ByRegex, Exclusion, HotwordRule, Window

Say = Callable[[str, str, str], None]  # takes a fault: where, problem, remedy


def check_known(names: Iterable[str], known: set[str], where: str, say: Say) -> None:
    for name in names:
        if name not in known:
            say(
                where,
                f"{name or 'an empty name'} is not among the infoTypes of this config",
                "add it to infoTypes or customInfoTypes",
            )


def read_likelihood(level: int, default: Likelihood, where: str, say: Say) -> Likelihood:
    """The level, or the default where none is given or after a fault."""
    if level and level not in list(Likelihood):
        say(where, "is no likelihood", f"use one of {', '.join(x.name for x in Likelihood)}")
        return default
    return Likelihood(level or default)


def read_regex(regex: CustomInfoType.Regex, where: str, say: Say) -> Any:
    """The compiled pattern, or None after a fault."""
    if not regex.pattern:
        say(f"{where}.pattern", "is empty", "give a pattern")
        return None
    try:
        return compile_regex(regex.pattern)
    except re2.error:
        say(
            f"{where}.pattern",
            "is no pattern that RE2 takes",
            "see https://github.com/google/re2/wiki/Syntax: no look-around, no back references, repeats up to 1000",
        )
    return None


def read_phrases(dictionary: CustomInfoType.Dictionary, where: str, say: Say) -> Sequence[str]:
    if CustomInfoType.Dictionary.pb(dictionary).WhichOneof("source") != "word_list":
        say(
            where,
            "holds no wordList; a file in Cloud Storage has no offline form",
            "write the words into wordList, or use --engine=dlp",
        )
        return ()
    words = list(dictionary.word_list.words)
    if not words or any(sum(c.isalnum() and c <= "\uffff" for c in word) < 2 for word in words):
        say(
            f"{where}.wordList",
            "needs words of at least two letters or digits each",
            "correct or remove the short ones",
        )
        return ()
    return words


def read_window(regex: CustomInfoType.Regex, proximity: Any, where: str, say: Say) -> Window | None:
    compiled = read_regex(regex, f"{where}.hotwordRegex", say)
    before, after = proximity.window_before, proximity.window_after
    if before < 0 or after < 0 or not 0 < before + after <= 1000:
        say(
            f"{where}.proximity",
            "is not between 1 and 1000 characters in all",
            "give windowBefore, windowAfter or both",
        )
        return None
    return Window(compiled, before, after) if compiled is not None else None


def read_hotword(rule: CustomInfoType.DetectionRule.HotwordRule, where: str, say: Say) -> HotwordRule | None:
    window = read_window(rule.hotword_regex, rule.proximity, where, say)
    adjustment = rule.likelihood_adjustment
    kind = type(adjustment).pb(adjustment).WhichOneof("adjustment")
    if kind == "fixed_likelihood" and adjustment.fixed_likelihood in list(Likelihood):
        return HotwordRule(window, Likelihood(adjustment.fixed_likelihood), 0) if window else None
    if kind == "relative_likelihood" and -4 <= adjustment.relative_likelihood <= 4:
        return HotwordRule(window, None, adjustment.relative_likelihood) if window else None
    say(
        f"{where}.likelihoodAdjustment",
        "is missing or out of range",
        "give fixedLikelihood, or relativeLikelihood between -4 and 4",
    )
    return None


def read_exclusion(rule: ExclusionRule, names: set[str], where: str, say: Say) -> Exclusion | None:
    kind = ExclusionRule.pb(rule).WhichOneof("type")
    if kind == "exclude_by_hotword":
        window = read_window(
            rule.exclude_by_hotword.hotword_regex, rule.exclude_by_hotword.proximity, f"{where}.excludeByHotword", say
        )
        return ByHotword(window) if window else None
    if kind not in ("dictionary", "regex", "exclude_info_types"):
        say(where, "needs dictionary, regex, excludeInfoTypes or excludeByHotword", "use one of them, or --engine=dlp")
        return None
    matching = int(rule.matching_type)
    if matching not in (1, 2, 3):
        say(
            f"{where}.matchingType",
            "is missing or made for images",
            "give MATCHING_TYPE_FULL_MATCH, _PARTIAL_MATCH or _INVERSE_MATCH",
        )
    if kind == "regex":
        regex = read_regex(rule.regex, f"{where}.regex", say)
        return ByRegex(regex, matching) if regex is not None else None
    if kind == "dictionary":
        words = read_phrases(rule.dictionary, f"{where}.dictionary", say)
        return ByDictionary(Dictionary(words), matching) if words else None
    excluded = [t.name for t in rule.exclude_info_types.info_types]
    if not excluded:
        say(f"{where}.excludeInfoTypes.infoTypes", "is empty", "name the infoTypes whose findings exclude")
    check_known(excluded, names, f"{where}.excludeInfoTypes", say)
    return ByInfoTypes(frozenset(excluded), matching)

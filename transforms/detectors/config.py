"""Reads a DLP InspectConfig into a Plan and says everything in it that is wrong or that cannot be done offline."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import re2
from google.cloud.dlp_v2.types import CustomInfoType, ExclusionRule, InspectConfig

from schemas.errors import Fault, Misconfigured
from transforms.detectors.custom import Dictionary, DictionaryFinder, RegexFinder, SurrogateFinder
from transforms.detectors.finder import Finder, PatternFinder, compile_regex
from transforms.detectors.info_type import Likelihood
from transforms.detectors.registry import INFO_TYPES
from transforms.detectors.rules import ByDictionary, ByHotword, ByInfoTypes, ByRegex, Exclusion, HotwordRule, Window

Say = Callable[[str, str, str], None]  # where, problem, remedy


@dataclass
class Plan:
    """What to look for.

    finders: `built_in` built-in ones, then the template's own; least: the least likelihood by infoType; hidden: the
    infoTypes that are found for the rules' sake and never told.
    """

    finders: list[Finder] = field(default_factory=list)
    built_in: int = 0
    least_of_all: Likelihood = Likelihood.POSSIBLE
    least: dict[str, Likelihood] = field(default_factory=dict)
    hotwords: dict[str, list[HotwordRule]] = field(default_factory=dict)
    exclusions: dict[str, list[Exclusion]] = field(default_factory=dict)
    hidden: set[str] = field(default_factory=set)


def read(config: InspectConfig) -> Plan:
    """Raises Misconfigured with all faults."""
    faults: list[Fault] = []

    def say(where: str, problem: str, remedy: str) -> None:
        faults.append(Fault(f"inspectConfig.{where}", problem, remedy))

    plan = Plan(least_of_all=Likelihood(config.min_likelihood or Likelihood.POSSIBLE))
    _built_in(config, plan, say)
    _custom(config, plan, say)
    names = {f.name for f in plan.finders}
    if not config.info_types and not config.custom_info_types:
        say(
            "infoTypes",
            "is empty, which asks DLP for a default list that changes over time",
            "list the infoTypes to look for",
        )
    if config.exclude_info_types:
        say(
            "excludeInfoTypes",
            "would hide which infoType was found, and every transformation needs to know",
            "leave it out",
        )
    for position, least in enumerate(config.min_likelihood_per_info_type):
        where = f"minLikelihoodPerInfoType[{position}]"
        _known([least.info_type.name], names, f"{where}.infoType", say)
        if not least.min_likelihood:
            say(f"{where}.minLikelihood", "is missing", "give a likelihood")
        plan.least[least.info_type.name] = Likelihood(least.min_likelihood or Likelihood.POSSIBLE)
    for position, rules in enumerate(config.rule_set):
        where = f"ruleSet[{position}]"
        types = [t.name for t in rules.info_types]
        if not types or not rules.rules:
            say(where, "needs infoTypes and rules", "give both or leave the set out")
        _known(types, names, f"{where}.infoTypes", say)
        for number, rule in enumerate(rules.rules):
            _rule(rule, types, names, plan, f"{where}.rules[{number}]", say)
    if faults:
        raise Misconfigured(faults)
    return plan


def _known(names: Iterable[str], known: set[str], where: str, say: Say) -> None:
    for name in names:
        if name not in known:
            say(
                where,
                f"{name or 'an empty name'} is not among the infoTypes of this config",
                "add it to infoTypes or customInfoTypes",
            )


def _built_in(config: InspectConfig, plan: Plan, say: Say) -> None:
    own = {c.info_type.name for c in config.custom_info_types}
    for position, info_type in enumerate(config.info_types):
        where = f"infoTypes[{position}]"
        if info_type.version not in ("", "latest", "stable"):
            say(f"{where}.version", "is a version that has no offline form", "use latest or stable, or leave it out")
        if info_type.name in INFO_TYPES:
            if info_type.name not in {f.name for f in plan.finders}:
                plan.finders += [
                    PatternFinder(INFO_TYPES[info_type.name], p) for p in INFO_TYPES[info_type.name].patterns
                ]
        elif info_type.name not in own:
            say(
                where,
                f"{info_type.name or 'an empty name'} has no offline detector",
                f"use --engine=dlp, define it in customInfoTypes, or one of {', '.join(sorted(INFO_TYPES))}",
            )
    plan.built_in = len(plan.finders)


def _custom(config: InspectConfig, plan: Plan, say: Say) -> None:
    for position, custom in enumerate(config.custom_info_types):
        where = f"customInfoTypes[{position}]"
        name = custom.info_type.name
        if not re.fullmatch(r"[A-Za-z0-9$_-]{1,64}", name):
            say(f"{where}.infoType.name", "is not a name", "use 1 to 64 letters, digits, $, _ and -")
        finder = _finder(custom, name, where, say)
        if finder:
            plan.finders.append(finder)
        if custom.exclusion_type == CustomInfoType.ExclusionType.EXCLUSION_TYPE_EXCLUDE:
            plan.hidden.add(name)
        for number, rule in enumerate(custom.detection_rules):
            at = f"{where}.detectionRules[{number}].hotwordRule"
            hotword = _hotword(rule.hotword_rule, at, say)
            if hotword:
                plan.hotwords.setdefault(name, []).append(hotword)


def _finder(custom: CustomInfoType, name: str, where: str, say: Say) -> Finder | None:
    kind = CustomInfoType.pb(custom).WhichOneof("type")
    likelihood = Likelihood(custom.likelihood or Likelihood.VERY_LIKELY)
    if kind == "regex":
        regex = _regex(custom.regex, f"{where}.regex", say)
        if (
            regex is not None
            and len(custom.regex.group_indexes) > 3
            or regex is not None
            and any(not 0 <= g <= regex.groups for g in custom.regex.group_indexes)
        ):
            say(
                f"{where}.regex.groupIndexes",
                "names more than 3 groups or one that the pattern does not have",
                "give up to 3 groups of the pattern",
            )
            return None
        return (
            RegexFinder(name, custom.regex.pattern, list(custom.regex.group_indexes), likelihood)
            if regex is not None
            else None
        )
    if kind == "dictionary":
        words = _phrases(custom.dictionary, f"{where}.dictionary", say)
        return DictionaryFinder(name, words, likelihood) if words else None
    if kind == "surrogate_type":
        if custom.detection_rules:
            say(f"{where}.detectionRules", "do not go with surrogateType", "leave them out")
        return SurrogateFinder(name, likelihood)
    said = {
        "stored_type": "storedType",
        "metadata_key_value_expression": "metadataKeyValueExpression",
        "file_label_info_type": "fileLabelInfoType",
    }
    say(
        where,
        f"{said.get(kind or '', 'an infoType without a type')} has no offline form",
        "use regex, dictionary.wordList or surrogateType, or --engine=dlp",
    )
    return None


def _regex(regex: CustomInfoType.Regex, where: str, say: Say) -> Any:
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


def _phrases(dictionary: CustomInfoType.Dictionary, where: str, say: Say) -> Sequence[str]:
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


def _window(regex: CustomInfoType.Regex, proximity: Any, where: str, say: Say) -> Window | None:
    compiled = _regex(regex, f"{where}.hotwordRegex", say)
    before, after = proximity.window_before, proximity.window_after
    if before < 0 or after < 0 or not 0 < before + after <= 1000:
        say(
            f"{where}.proximity",
            "is not between 1 and 1000 characters in all",
            "give windowBefore, windowAfter or both",
        )
        return None
    return Window(compiled, before, after) if compiled is not None else None


def _hotword(rule: CustomInfoType.DetectionRule.HotwordRule, where: str, say: Say) -> HotwordRule | None:
    window = _window(rule.hotword_regex, rule.proximity, where, say)
    adjustment = rule.likelihood_adjustment
    kind = type(adjustment).pb(adjustment).WhichOneof("adjustment")
    if kind == "fixed_likelihood" and adjustment.fixed_likelihood:
        return HotwordRule(window, Likelihood(adjustment.fixed_likelihood), 0) if window else None
    if kind == "relative_likelihood" and -4 <= adjustment.relative_likelihood <= 4:
        return HotwordRule(window, None, adjustment.relative_likelihood) if window else None
    say(
        f"{where}.likelihoodAdjustment",
        "is missing or out of range",
        "give fixedLikelihood, or relativeLikelihood between -4 and 4",
    )
    return None


def _rule(rule: Any, types: Sequence[str], names: set[str], plan: Plan, where: str, say: Say) -> None:
    kind = type(rule).pb(rule).WhichOneof("type")
    if kind == "hotword_rule":
        hotword = _hotword(rule.hotword_rule, f"{where}.hotwordRule", say)
        if hotword:
            for name in types:
                plan.hotwords.setdefault(name, []).append(hotword)
    elif kind == "exclusion_rule":
        exclusion = _exclusion(rule.exclusion_rule, names, f"{where}.exclusionRule", say)
        if exclusion:
            for name in types:
                plan.exclusions.setdefault(name, []).append(exclusion)
    else:
        say(where, "is neither a hotwordRule nor an exclusionRule", "use one of them, or --engine=dlp")


def _exclusion(rule: ExclusionRule, names: set[str], where: str, say: Say) -> Exclusion | None:
    kind = ExclusionRule.pb(rule).WhichOneof("type")
    if kind == "exclude_by_hotword":
        window = _window(
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
        regex = _regex(rule.regex, f"{where}.regex", say)
        return ByRegex(regex, matching) if regex is not None else None
    if kind == "dictionary":
        words = _phrases(rule.dictionary, f"{where}.dictionary", say)
        return ByDictionary(Dictionary(words), matching) if words else None
    excluded = [t.name for t in rule.exclude_info_types.info_types]
    if not excluded:
        say(f"{where}.excludeInfoTypes.infoTypes", "is empty", "name the infoTypes whose findings exclude")
    _known(excluded, names, f"{where}.excludeInfoTypes", say)
    return ByInfoTypes(frozenset(excluded), matching)

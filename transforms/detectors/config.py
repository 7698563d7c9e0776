"""Reads a DLP InspectConfig into a Plan and says everything in it that is wrong or that cannot be done offline."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from google.cloud.dlp_v2.types import CustomInfoType, InspectConfig

from schemas.errors import Fault, Misconfigured
from transforms.detectors import config_parts as parts
from transforms.detectors.config_parts import Say
from transforms.detectors.custom import DictionaryFinder, RegexFinder, SurrogateFinder
from transforms.detectors.finder import Finder, PatternFinder
from transforms.detectors.info_type import Likelihood
from transforms.detectors.registry import INFO_TYPES
from transforms.detectors.rules import Exclusion, HotwordRule


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

    plan = Plan(least_of_all=parts.read_likelihood(config.min_likelihood, Likelihood.POSSIBLE, "minLikelihood", say))
    _built_in(config, plan, say)
    _custom(config, plan, say)
    names = {t.name for t in config.info_types} | {c.info_type.name for c in config.custom_info_types}
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
        parts.check_known([least.info_type.name], names, f"{where}.infoType", say)
        if not least.min_likelihood:
            say(f"{where}.minLikelihood", "is missing", "give a likelihood")
        plan.least[least.info_type.name] = parts.read_likelihood(
            least.min_likelihood, Likelihood.POSSIBLE, f"{where}.minLikelihood", say
        )
    for position, rules in enumerate(config.rule_set):
        where = f"ruleSet[{position}]"
        types = [t.name for t in rules.info_types]
        if not types or not rules.rules:
            say(where, "needs infoTypes and rules", "give both or leave the set out")
        parts.check_known(types, names, f"{where}.infoTypes", say)
        for number, rule in enumerate(rules.rules):
            _rule(rule, types, names, plan, f"{where}.rules[{number}]", say)
    if faults:
        raise Misconfigured(faults)
    return plan


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
            hotword = parts.read_hotword(rule.hotword_rule, at, say)
            if hotword:
                plan.hotwords.setdefault(name, []).append(hotword)


def _finder(custom: CustomInfoType, name: str, where: str, say: Say) -> Finder | None:
    kind = CustomInfoType.pb(custom).WhichOneof("type")
    likelihood = parts.read_likelihood(custom.likelihood, Likelihood.VERY_LIKELY, f"{where}.likelihood", say)
    if kind == "regex":
        regex = parts.read_regex(custom.regex, f"{where}.regex", say)
        if (regex is not None and len(custom.regex.group_indexes) > 3) or (
            regex is not None and any(not 0 <= g <= regex.groups for g in custom.regex.group_indexes)
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
        words = parts.read_phrases(custom.dictionary, f"{where}.dictionary", say)
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


def _rule(rule: Any, types: Sequence[str], names: set[str], plan: Plan, where: str, say: Say) -> None:
    kind = type(rule).pb(rule).WhichOneof("type")
    if kind == "hotword_rule":
        hotword = parts.read_hotword(rule.hotword_rule, f"{where}.hotwordRule", say)
        if hotword:
            for name in types:
                plan.hotwords.setdefault(name, []).append(hotword)
    elif kind == "exclusion_rule":
        exclusion = parts.read_exclusion(rule.exclusion_rule, names, f"{where}.exclusionRule", say)
        if exclusion:
            for name in types:
                plan.exclusions.setdefault(name, []).append(exclusion)
    else:
        say(where, "is neither a hotwordRule nor an exclusionRule", "use one of them, or --engine=dlp")

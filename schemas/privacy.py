"""Privacy classes against the templates: what names a person is transformed, free text is inspected, the rest cannot
carry an identifier by accident.
"""

from collections.abc import Iterator, Sequence

from schemas.errors import Fault, Misconfigured
from schemas.fields import Field
from schemas.templates import Rule, deidentify_template, inspect_template, requested, rules


def check(deidentify_text: str, inspect_text: str, fields: Sequence[Field], id_field: str, time_field: str,
          folder: str) -> list[Fault]:
    """Every field whose class is not kept. Nothing for templates that do not parse: templates.check tells that."""
    avsc, policy = f"{folder}/event.avsc", f"{folder}/deidentify.json"
    try:
        listed = rules(deidentify_template(deidentify_text, policy))
        wanted = requested(inspect_template(inspect_text, f"{folder}/inspect.json"))
    except Misconfigured:
        return []
    faults: list[Fault] = []
    for field in fields:
        own = [rule for rule in listed if field.name in rule.fields]
        if field.name in (id_field, time_field):
            faults += _kept(field, own, id_field, avsc, policy)
        elif field.privacy in ("identifier", "free_text"):
            faults += _transformed(field, own, wanted, policy)
        hidden = any(rule.condition is None and rule.primitive is not None for rule in own)
        if field.privacy in ("public", "sensitive") and _any_text(field) and not hidden:
            faults.append(Fault(f"{avsc}: {field.name}", f"is {field.privacy} and may hold any text, an identifier too",
                                "add values or pattern, or class it free_text"))
    return faults


def _any_text(field: Field) -> bool:
    return field.type == "string" and field.values is None and field.pattern is None


def _kept(field: Field, own: Sequence[Rule], id_field: str, avsc: str, policy: str) -> Iterator[Fault]:
    """The id ties repeats together and the time chooses the partition, both as they were read: neither may change."""
    role, why = ("time", "the partition follows from it")
    if field.name == id_field:
        role, why = ("id", "it ties repeats together")
    for rule in own:
        yield Fault(f"{policy}: {rule.path}.fields", f"transforms {field.name}, which is the {role}: {why}",
                    "take it out of the rule; where it names a person, let the sender make an id that does not")
    if field.privacy in ("identifier", "free_text"):
        yield Fault(f"{avsc}: {field.name}", f"is the {role}, which is stored as it is, and is classed {field.privacy}",
                    f"let the {role} name no one and class it public")


def _transformed(field: Field, own: Sequence[Rule], wanted: Sequence[str], policy: str) -> Iterator[Fault]:
    where = f"{policy}: {field.name}"
    always = [rule for rule in own if rule.condition is None]
    if any(rule.primitive is not None for rule in always):
        return
    if own and not always:
        yield Fault(where, f"is {field.privacy} and transformed under conditions only: other rows would stay in clear",
                    "use one rule without a condition")
    elif field.privacy == "identifier":
        yield Fault(where, "is an identifier without a primitiveTransformation of the whole field",
                    "give it one, such as cryptoDeterministicConfig, or redactConfig")
    elif not own:
        yield Fault(where, "is free text and nothing looks into it", "give it infoTypeTransformations, or redactConfig")
    else:
        parts = [part for rule in always for part in rule.by_info_type]
        left = sorted(set(wanted).difference(*(part.info_types for part in parts)))
        if left and all(part.info_types for part in parts):
            yield Fault(where, f"is free text whose {', '.join(left)} would be stored in clear",
                        "add a transformation without infoTypes, which takes all that no other one names")

"""What applicants write beside the form: about a third of the notes hold something that names a person.

Every sentence has at most one slot, {}. Harmless ones hold amounts, dates of visits and order numbers, which must stay.
Sentences are kept as JSON text; those outside ASCII partly with escapes, as other writers of JSON have them.
"""

import json

from pipelines.tools.people import Person, Random, card, person, phone

_EMAIL = (
    "Please write to {} if a paper is missing.", "I can be reached at {} on weekdays.",
    "My new address for mail is {}, the old one is closed.", "Send the letter to {} please.", "cc: {}", "Kontakt: {}",
    "Copies went to {} and to the county office.", "Use {} instead of the address above.", "e-mail {} works best",
    "The landlord ({}) confirms the rent.", "Reply-to: {}", "Mi correo es {}, gracias.", "My daughter reads {} for me.",
)
_PHONE = (
    "Call me at {} after five.", "My mobile is {}.", "You may ring my sister on {} instead.", "Phone (work): {}", "tel. {}",
    "Please leave a message at {}, I work nights.", "The number of my employer is {}.", "Fax and phone: {}",
    "Text {} when the decision is made.", "Llámeme al {} por la mañana.", "If nobody answers try {}.",
    "Case worker asked for a second number: {}.",
)
_CARD = (
    "I paid the fee with card {}.", "The fee of $25.00 was charged twice to {}.", "Refund to my card {} please.",
    "Card number {} expires next spring.", "Payment: {} (Visa).", "Bitte auf die Karte {} erstatten.",
    "My card {} was declined at the counter.", "Charged to {} on the first of the month.",
)
_NAME = (
    "My husband {} will hand in the remaining papers.", "Spoke with {} at the desk, who said to apply again.",
    "Filed on behalf of my mother, {}.", "{} from the housing office knows the case.", "My neighbour {} can confirm this.",
    "The lease is in the name of {}.", "Signed: {}", "Thank you, {}", "Dr. {} has the medical file.",
    "Two children live with me and with {}.", "Ask for {} if I am not there.", "Mrs {} helped me with the form.", "Regards, {}",
)
_BORN = (
    "My son, born {}, lives with me.", "I was born {}.", "Date of birth {} as in the passport.", "DOB: {}",
    "She was born on {} and moved here later.", "Geboren am {}, please correct it.", "date of birth: {} (the form shows another one)",
    "Born {}, see the certificate.",
)
_ORDER = (
    "Order number A-{} never arrived.", "See ticket #{} for the first request.", "My reference is BEN/{}/2.",
    "Form 1040 line {} was empty, that is right.", "This replaces request no. {}.", "Apartment {} on the third floor of the old mill.",
    "Page {} of the file is unreadable.", "Locker {} holds the originals.",
)
_AMOUNT = (
    "Rent is ${} a month, heating not included.", "I earned ${} last year from tips.", "The deposit of ${} has not been returned.",
    "Unterhalt: {} EUR im Monat.", "Savings are ${} as of today.", "Costs of the course were ${}; the receipt is attached.",
    "Child care is about ${} every month.", "Received {} USD in food stamps.",
)
_VISIT = (
    "I visited the office on {} and waited two hours.", "The interview was moved to {}.", "Hearing held on {}, no decision yet.",
    "Laid off since {}.", "Application printed {}.", "My contract ends on {}.", "The school year starts {}.", "Last payment arrived {}.",
)
_PLAIN = (
    "No changes since last year.", "I work two jobs and cannot come before six.", "Please hurry, the heating is off. 🥶",
    "Thanks for the quick help! 😊", "Nothing to add.", "The form did not let me choose more than one employer.",
    "Seasonal work, hours differ from week to week.", "We share the flat with my brother's family.", "Ich habe keine weiteren Einkünfte.",
    "No tengo más ingresos este año.", "Je cherche un emploi à mi-temps.", "He says \"come back Monday\", every time.",
    "See back side / voir au verso.", "Line one\nline two\tand a tab.", "家族三人で暮らしています。", "n/a", "none", "???",
    "100 % remote since the move.", "Only the 2nd and 3rd box apply.", "Room 12, building B, ask at the gate.",
    "Version 2.4.1 of the form crashed twice.", "Hours: 9 to 5, Monday to Thursday.", "Studying at night; degree in about 18 months.",
    "The bus takes 75 minutes each way.", "Weight of the parcel was 3.5 kg.",
)


def _texts(sentences: tuple[str, ...]) -> tuple[str, ...]:
    """Sentences as the inside of a JSON string; every third one with \\u escapes."""
    return tuple(json.dumps(s, ensure_ascii=i % 3 == 0)[1:-1] for i, s in enumerate(sentences))


_TOLD = tuple(map(_texts, (_EMAIL, _PHONE, _CARD, _NAME, _BORN)))
_SILENT = tuple(map(_texts, (_ORDER, _AMOUNT, _VISIT, _PLAIN, _PLAIN)))
_MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December")


def _day(draw: Random, first: int, years: int) -> str:
    year, month, day = first + int(draw() * years), 1 + int(draw() * 12), 1 + int(draw() * 28)
    style = draw()
    if style < 0.6:
        return f"{year}-{month:02d}-{day:02d}"
    return f"{month:02d}/{day:02d}/{year}" if style < 0.85 else f"{_MONTHS[month - 1]} {day}, {year}"


def _harmless(draw: Random) -> str:
    kind = int(draw() * 5)
    sentence = _SILENT[kind][int(draw() * len(_SILENT[kind]))]
    if kind == 0:
        return sentence.format(1 + int(draw() * 99_999))
    if kind == 1:
        return sentence.format(f"{int(draw() * 9_000) + 20:,}.{int(draw() * 100):02d}")
    return sentence.format(_day(draw, 2024, 2)) if kind == 2 else sentence


def note(draw: Random, applicant: Person) -> str:
    """The inside of a JSON string. One in three holds the applicant's or another person's data."""
    text = f"{_harmless(draw)} {_harmless(draw)}" if draw() < 0.7 else _harmless(draw)
    if draw() >= 1 / 3:
        return text
    kind = int(draw() * 5)
    sentence = _TOLD[kind][int(draw() * len(_TOLD[kind]))]
    own = draw() < 0.5
    if kind == 0:
        told = sentence.format(applicant.email if own else person(draw).email)
    elif kind == 1:
        told = sentence.format(applicant.phone if own else phone(draw))
    elif kind == 2:
        told = sentence.format(card(draw))
    elif kind == 3:
        told = sentence.format(" ".join(reversed(person(draw).name.split(", "))))
    else:
        told = sentence.format(_day(draw, 1946, 60))
    if draw() < 0.6:
        return f"{text} {told}"
    return f"{told} {text}" if told[-1] in ".)" else f"{told}\\n{text}"

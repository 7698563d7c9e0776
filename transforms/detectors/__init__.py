"""Finding identifiers in free text, offline: one family of infoTypes a file, one inspector over them.

    info_type.py   the vocabulary: Likelihood, Pattern, Hotword, InfoType
    contact, phones, network, finance, government, dates, names, places, organizations, credentials   the families
    name_words.py  which words are names; letters.py, checksums.py  ranges and check digits
    registry.py    INFO_TYPES, all of them by DLP's names
    text.py        a text as RE2 sees it (UTF-8 bytes) and as findings count it (code points)
    custom.py      what a template defines itself: regexes, dictionaries, surrogates
    rules.py       hotword and exclusion rules of a template
    finder.py      one pattern over one text
    sieve.py       which finders must look at which rows of a column
    config.py      a DLP InspectConfig read and checked into a Plan, with config_parts.py
    overlaps.py    which of two findings wins
    inspector.py   Inspector: texts and columns in, findings out
"""

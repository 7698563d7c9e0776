"""STREET_ADDRESS and LOCATION: American, British and the commoner European ways of writing them."""

from transforms.detectors.info_type import Hotword, InfoType, Likelihood, Pattern, Strength

_STATES = (
    "Alabama|Alaska|Arizona|Arkansas|California|Colorado|Connecticut|Delaware|Florida|Georgia|Hawaii|Idaho|Illinois|"
    "Indiana|Iowa|Kansas|Kentucky|Louisiana|Maine|Maryland|"
    "Massachusetts|Michigan|Minnesota|Mississippi|Missouri|Montana|Nebraska|Nevada|New Hampshire|New Jersey|New "
    "Mexico|New York|North Carolina|North Dakota|Ohio|Oklahoma|"
    "Oregon|Pennsylvania|Rhode Island|South Carolina|South Dakota|Tennessee|Texas|Utah|Vermont|Virginia|Washington|"
    "West Virginia|Wisconsin|Wyoming"
)
_CODES = (
    "AL|AK|AZ|AR|CA|CO|CT|DE|FL|GA|HI|ID|IL|IN|IA|KS|KY|LA|ME|MD|MA|MI|MN|MS|MO|MT|NE|NV|NH|NJ|NM|NY|NC|ND|OH|OK|OR|"
    "PA|RI|SC|SD|TN|TX|UT|VT|VA|WA|WV|WI|WY|DC|PR|GU|VI|AS|MP|"
    "AA|AE|AP|ON|QC|BC|AB|MB|SK|NS|NB|NL|PE"
)
_COUNTRIES = (
    "Afghanistan|Albania|Algeria|Andorra|Angola|Antigua and Barbuda|Argentina|Armenia|Australia|Austria|Azerbaijan|"
    "Bahamas|Bahrain|Bangladesh|Barbados|Belarus|Belgium|Belize|Benin|"
    "Bhutan|Bolivia|Bosnia and Herzegovina|Botswana|Brazil|Brunei|Bulgaria|Burkina Faso|Burundi|Cambodia|Cameroon|"
    "Canada|Cape Verde|Central African Republic|Chad|Chile|China|"
    "Colombia|Comoros|Congo|Costa Rica|Croatia|Cuba|Cyprus|Czech Republic|Czechia|Denmark|Djibouti|Dominican "
    "Republic|Dominica|East Timor|Ecuador|Egypt|El Salvador|"
    "Equatorial Guinea|Eritrea|Estonia|Eswatini|Ethiopia|Fiji|Finland|France|Gabon|Gambia|Germany|Ghana|Greece|"
    "Greenland|Grenada|Guatemala|Guinea-Bissau|Guinea|Guyana|Haiti|Honduras|"
    "Hong Kong|Hungary|Iceland|Indonesia|India|Iran|Iraq|Ireland|Israel|Italy|Ivory Coast|Jamaica|Japan|Kazakhstan|"
    "Kenya|Kiribati|Kosovo|Kuwait|Kyrgyzstan|Laos|Latvia|Lebanon|"
    "Lesotho|Liberia|Libya|Liechtenstein|Lithuania|Luxembourg|Macau|Macedonia|Madagascar|Malawi|Malaysia|Maldives|"
    "Mali|Malta|Marshall Islands|Mauritania|Mauritius|Mexico|Micronesia|"
    "Moldova|Monaco|Mongolia|Montenegro|Morocco|Mozambique|Myanmar|Namibia|Nauru|Nepal|Netherlands|New Zealand|"
    "Nicaragua|Nigeria|Niger|North Korea|Norway|Oman|Pakistan|Palau|Palestine|"
    "Panama|Papua New Guinea|Paraguay|Peru|Philippines|Poland|Portugal|Puerto Rico|Qatar|Romania|Russia|Rwanda|"
    "Samoa|San Marino|Saudi Arabia|Scotland|Senegal|Serbia|Seychelles|"
    "Sierra Leone|Singapore|Slovakia|Slovenia|Solomon Islands|Somalia|South Africa|South Korea|South Sudan|Spain|"
    "Sri Lanka|Sudan|Suriname|Sweden|Switzerland|Syria|Taiwan|"
    "Tajikistan|Tanzania|Thailand|Togo|Tonga|Trinidad and Tobago|Tunisia|Turkey|Turkmenistan|Tuvalu|Uganda|Ukraine|"
    "United Arab Emirates|United Kingdom|United States|Uruguay|"
    "Uzbekistan|Vanuatu|Vatican City|Venezuela|Vietnam|Wales|England|Yemen|Zambia|Zimbabwe"
)

_STREETS = (
    r"(?i:street|str|st|avenue|ave|av|road|rd|drive|dr|lane|ln|boulevard|blvd|court|ct|place|pl|square|sq|terrace|"
    r"ter|way|parkway|pkwy|circle|cir|highway|hwy|route|rte|"
    r"trail|trl|alley|crescent|cres|close|gardens|gdns|grove|hill|mews|row|walk|plaza|turnpike|expressway|loop|pike|"
    r"ridge|crossing|heights|view|park|quay|green|rise|esplanade|causeway)"
)
_WORD = r"(?:[\p{Lu}][\pL'’.\-]*|\d{1,3}(?i:st|nd|rd|th))"
_UNIT = r"(?:[ ,\n]{1,3}(?i:apt|apartment|suite|ste|unit|flat|floor|fl|room|rm|bldg|building|#)\.? ?#?[\pL\d\-]{1,6})"
_CITY = rf"(?:[ ,\n]{{1,3}}{_WORD}(?: {_WORD}){{0,2}})"
_TAIL = (
    rf"{_UNIT}?(?:{_CITY}?[ ,\n]{{1,3}}(?:{_CODES}|{_STATES})\b\.?(?:[ ,\n]{{1,3}}\d{{5}}(?:-\d{{4}})?\b)?|"
    rf"{_CITY}?[ ,\n]{{1,3}}(?:[A-Z]{{1,2}}\d[A-Z\d]? ?\d[A-Z]{{2}}|\d{{5}})\b)?"
)
_EUROPE_AFTER = (
    r"[\pL'’.\-]*(?:stra(?:ß|ss)e|str\.|gasse|weg|platz|allee|ring|ufer|damm|straat|laan|gracht|plein|kade|dijk|"
    r"steenweg|vej|gade|gata|gatan|vägen|veien|vegen|katu|katu|tie|"
    r"polku|utca|út|útja|tér|körút)"
)
_EUROPE_BEFORE = (
    r"(?i:rue|chemin|impasse|allée|place|quai|cours|via|viale|piazza|corso|vicolo|largo|calle|avenida|avda\.?|av\.|"
    r"plaza|paseo|carrer|camiño|camino|ronda|rua|travessa|praça|"
    r"ul\.|ulica|al\.|os\.|pl\.|jalan|jl\.|trg|strada|bulevardul|boulevard|avenue)"
)
_LEFT = r"(?:^|[^\pL0-9_.\-/$€£])"
STREET_ADDRESS = InfoType(
    "STREET_ADDRESS",
    (
        Pattern(
            rf"{_LEFT}(\d{{1,6}}[A-Za-z]?(?:[ \-]\d{{1,4}})?,? (?:(?:N|S|E|W|NE|NW|SE|SW)\.? )?(?:{_WORD} "
            rf"){{1,4}}{_STREETS}\b\.?(?: (?:N|S|E|W|NE|NW|SE|SW)\b)?{_TAIL})",
            Likelihood.LIKELY,
        ),
        Pattern(rf"(?i){_LEFT}(\d{{1,6}} (?:[a-z0-9'’.\-]+ ){{1,3}}{_STREETS}\b\.?{_UNIT})", Likelihood.POSSIBLE),
        Pattern(
            rf"{_LEFT}(\d{{1,5}}(?: ?(?:bis|ter|[A-Za-z]))?,? {_EUROPE_BEFORE} (?:[\pL'’.\-]+ "
            rf"){{0,4}}[\pL'’\-]{{2,}}(?:,? \d{{4,5}} {_WORD})?)",
            Likelihood.POSSIBLE,
        ),
        Pattern(
            rf"(?:^|[^\pL0-9])({_EUROPE_BEFORE} (?:[\pL'’.\-]+ ?){{1,5}},? ?(?:n[°º.]? ?)?\d{{1,4}}[A-Za-z]?\b(?:,? "
            rf"\d{{4,5}} {_WORD})?)",
            Likelihood.POSSIBLE,
        ),
        Pattern(
            rf"(?:^|[^\pL0-9])((?:[\p{{Lu}}][\pL.\-]* )?[\p{{Lu}}]{_EUROPE_AFTER} \d{{1,4}}[ ]?[A-Za-z]?\b(?:,? "
            rf"(?:[A-Z]{{1,2}}-)?\d{{4,5}} {_WORD})?)",
            Likelihood.LIKELY,
        ),
        Pattern(
            r"(?i)\b((?:p\.? ?o\.? ?box|postfach|apartado|casilla|psc|box) #?\d{1,7}(?:, ?box \d+)?)\b",
            Likelihood.LIKELY,
            Strength.LOOSE,
        ),
        Pattern(
            rf"{_LEFT}(\d{{1,4}}[A-Za-z]? (?:{_WORD} ){{1,3}}?{_WORD},? (?:{_WORD} ){{0,2}}{_WORD},? "
            rf"[A-Z]{{1,2}}\d[A-Z\d]? ?\d[A-Z]{{2}})\b",
            Likelihood.LIKELY,
        ),
        Pattern(rf"{_LEFT}(\d{{1,6}} (?:{_WORD} ){{0,3}}{_WORD}{_UNIT}(?:{_TAIL}))", Likelihood.POSSIBLE),
    ),
    screen=r"\d",
)
LOCATION = InfoType(
    "LOCATION",
    (
        Pattern(
            rf"(?:^|[^\pL0-9])({_WORD}(?: {_WORD}){{0,2}}, ?(?:{_CODES})(?: \d{{5}}(?:-\d{{4}})?)?)(?:$|[^\pL0-9])",
            Likelihood.LIKELY,
        ),
        Pattern(rf"(?:^|[^\pL0-9])({_COUNTRIES}|{_STATES})(?:$|[^\pL0-9])", Likelihood.POSSIBLE),
        Pattern(
            rf"(?:^|[^\pL0-9])(?i:live[sd]? in|lives in|living in|moved to|move to|from|born in|based in|located in|"
            rf"grew up in|trip to|city of|travel(?:ling|ed)? to|flight to|visit(?:ing|ed)?) ({_WORD}(?: "
            rf"{_WORD}){{0,2}})",
            Likelihood.UNLIKELY,
            Strength.LOOSE,
            hotwords=(
                Hotword(
                    r"\b(?:live[sd]?|living|born|based|located|grew up|city|moved)\b", Likelihood.POSSIBLE, before=20
                ),
            ),
        ),
        Pattern(r"\b([A-Z]{1,2}\d[A-Z\d]? \d[A-Z]{2})\b", Likelihood.POSSIBLE, Strength.LOOSE),
    ),
    screen=r"[\p{Lu}]",
)

INFO_TYPES = (STREET_ADDRESS, LOCATION)

"""Every infoType that the offline inspector knows, by DLP's name.

https://cloud.google.com/sensitive-data-protection/docs/infotypes-reference
"""

from transforms.detectors import (
    contact,
    credentials,
    dates,
    finance,
    government,
    names,
    network,
    organizations,
    phones,
    places,
)
from transforms.detectors.info_type import InfoType

INFO_TYPES: dict[str, InfoType] = {
    info_type.name: info_type
    for family in (contact, phones, network, finance, government, dates, names, places, organizations, credentials)
    for info_type in family.INFO_TYPES
}

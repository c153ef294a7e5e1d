"""Values of the special kinds of custom fields for generated records.

Each function adds the same fields to every row, chosen by 64 random bits of the row's own. Blank
is None.
"""

from collections.abc import Callable
from datetime import date

_INTERESTS = ("Analytics", "Automation", "Data Quality", "EVENTS", "Integrations", "Security")
_TERRITORIES = {
    "AMER": ("North America", "Latin America", "Strategic", None),
    "EMEA": ("DACH", "UK & Ireland", "Strategic", None),
    "APAC": ("Japan", "ANZ", "Strategic", None),
}
_REGIONS = ("AMER", "EMEA", "APAC", None)
_FIRST_CUSTOMER = date(2015, 1, 1).toordinal()


def _prospect(row: dict[str, object], bits: int) -> None:
    """What Contacts and Leads have in common."""
    interests = [name for at, name in enumerate(_INTERESTS) if bits >> at & 1]
    row["Interests__c"] = ";".join(interests) if interests and bits >> 6 & 1 else None
    region = _REGIONS[bits >> 7 & 3]
    row["Region__c"] = region
    row["Territory__c"] = _TERRITORIES[region][bits >> 9 & 3] if region else None
    quarter = 32 + (bits >> 11 & 31)
    has_time = bits >> 16 & 3 == 0
    time = f"{quarter // 4:02}:{quarter % 4 * 15:02}:00.000" if has_time else None
    row["Preferred_Call_Time__c"] = time
    latitude = longitude = None
    if bits >> 18 & 3 == 0:
        latitude = round(-55 + (bits >> 20 & 1023) / 1023 * 120, 4)
        longitude = round(-170 + (bits >> 30 & 1023) / 1023 * 340, 4)
    row["Office_Location__Latitude__s"] = latitude
    row["Office_Location__Longitude__s"] = longitude
    row["Discount__c"] = (bits >> 40 & 63) / 2 if bits >> 46 & 3 == 0 else None


def _contact(row: dict[str, object], bits: int) -> None:
    _prospect(row, bits)
    is_customer = bits >> 48 & 1
    since = date.fromordinal(_FIRST_CUSTOMER + (bits >> 49 & 2047)) if is_customer else None
    row["Customer_Since__c"] = since.isoformat() if since else None
    row["Lifetime_Value__c"] = (bits >> 44 & 0xFFFF) * 0.25 if is_customer else None


CUSTOM_FIELDS: dict[str, Callable[[dict[str, object], int], None]] = {
    "Contact": _contact,
    "Lead": _prospect,
}

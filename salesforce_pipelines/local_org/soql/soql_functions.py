"""Functions of SOQL that SQLite has no counterpart of, taught to every connection."""

import math
import sqlite3
from datetime import date, datetime

_EARTH_RADIUS_KM = 6371.009
_KM_PER_MILE = 1.609344


def register_soql_functions(connection: sqlite3.Connection) -> None:
    """Teach a connection `distance` and `formatted`."""
    connection.create_function("distance", 5, distance, deterministic=True)
    connection.create_function("formatted", 3, formatted, deterministic=True)


def distance(
    latitude: float | None,
    longitude: float | None,
    other_latitude: float,
    other_longitude: float,
    unit: str,
) -> float | None:
    """The great-circle distance of two places, in `km` or `mi`; None without a place.

    The reference names the haversine formula but not the radius: it is the mean one here.
    """
    if latitude is None or longitude is None:
        return None
    here, there = math.radians(latitude), math.radians(other_latitude)
    half_way = math.sin(math.radians(other_longitude - longitude) / 2) ** 2
    chord = math.sin((there - here) / 2) ** 2 + math.cos(here) * math.cos(there) * half_way
    kilometres = 2 * _EARTH_RADIUS_KM * math.asin(math.sqrt(min(1.0, chord)))
    return kilometres if unit == "km" else kilometres / _KM_PER_MILE


def formatted(value: str | float | None, type_: str, scale: int) -> str | None:
    """A value as `FORMAT()` shows it to a user with the en_US locale.

    Args:
        value: As the store keeps it.
        type_: The field type.
        scale: Digits after the decimal point, for a currency.
    """
    if value is None:
        return None
    if isinstance(value, str):
        return _formatted_text(value, type_)
    if type_ == "currency":
        return f"{'-' * (value < 0)}${abs(value):,.{scale}f}"
    if type_ in ("double", "percent", "int"):
        number = f"{value:,.{scale}f}" if scale else f"{value:,.15g}"
        return number + "%" * (type_ == "percent")
    return str(value)


def _formatted_text(value: str, type_: str) -> str:
    if type_ == "date":
        day = date.fromisoformat(value)
        return f"{day.month}/{day.day}/{day.year}"
    if type_ == "datetime":
        moment = datetime.fromisoformat(value)
        day_text = f"{moment.month}/{moment.day}/{moment.year}"
        return f"{day_text}, {(moment.hour + 11) % 12 + 1}:{moment:%M %p}"
    if type_ == "time":
        hour = int(value[:2])
        return f"{(hour + 11) % 12 + 1}:{value[3:5]} {'AM' if hour < 12 else 'PM'}"
    return value

"""Generated numbers are fictitious and unique, and every format can be read again."""

import phonenumbers
import pytest

from salesforce_pipelines.local_org.generated.phone_numbers import (
    EXTENSION_FORMATS,
    PHONE_FORMATS,
    e164,
    phone_number,
)

COUNTRIES = ("US", "CA", "GB", "FR", "DE", "AU")


@pytest.mark.parametrize("country", COUNTRIES)
def test_numbers_are_valid_unique_and_of_the_country(country: str) -> None:
    numbers = [phone_number(country, position) for position in range(4000)]
    assert None not in numbers
    assert len(set(numbers)) == len(numbers)
    for number in numbers[::40]:
        assert number is not None
        parsed = phonenumbers.parse(e164(number))
        assert phonenumbers.is_valid_number(parsed)
        assert phonenumbers.region_code_for_number(parsed) == country


@pytest.mark.parametrize("country", COUNTRIES)
@pytest.mark.parametrize("written", [*PHONE_FORMATS, *EXTENSION_FORMATS])
def test_every_format_can_be_read_again(country: str, written: object) -> None:
    assert callable(written)
    for position in (0, 123, 3999):
        number = phone_number(country, position)
        assert number is not None
        text = str(written(number))
        dialled = f"+{text[2:]}" if text.startswith("00") else text
        parsed = phonenumbers.parse(dialled, country)
        assert f"+{parsed.country_code}{parsed.national_number}" == e164(number)
        assert len(text) <= 40


def test_north_american_numbers_are_555_01xx_first_and_never_directory_assistance() -> None:
    areas = 322
    first = [phone_number("US", position) for position in range(0, 100 * areas, 97)]
    assert all(number and number.local.startswith("555 01") for number in first)
    lines = [phone_number("US", position * areas) for position in range(9898)]
    assert all(number and number.local != "555 1212" for number in lines)


def test_numbers_end_where_the_range_ends() -> None:
    assert phone_number("DE", 4999) is not None
    assert phone_number("DE", 5000) is None
    assert phone_number("JP", 0) is None

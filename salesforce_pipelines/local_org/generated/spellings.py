"""Other ways to write the same e-mail address, profile URL, company or country."""

from collections.abc import Callable

LEGAL_FORMS: dict[str, tuple[tuple[str, ...], ...]] = {
    "US": (
        (" Inc.", ", Inc.", " Inc", " Incorporated", " INC"),
        (" LLC", ", LLC", " L.L.C.", " Llc"),
        (" Corp.", " Corporation", " Corp"),
        (" & Co.", " & Company", " and Co.", " & Co"),
    ),
    "CA": ((" Inc.", " Inc", " Incorporated"), (" Ltd.", " Limited", " Ltd")),
    "GB": (
        (" Ltd.", " Limited", " Ltd", " LTD"),
        (" PLC", " plc", " P.L.C."),
        (" LLP", " L.L.P."),
        (" & Co. Ltd.", " and Co Ltd", " & Co. Limited"),
    ),
    "DE": (
        (" GmbH", " GMBH", " G.m.b.H."),
        (" AG", " A.G.", " Aktiengesellschaft"),
        (" GmbH & Co. KG", " GmbH & Co KG", " GmbH und Co. KG"),
        (" e.K.", " eK"),
    ),
    "FR": ((" S.A.S.", " SAS", " sas"), (" S.A.", " SA"), (" SARL", " S.A.R.L.", " sarl")),
    "AU": ((" Pty Ltd", " Pty. Ltd.", " Proprietary Limited", " PTY LTD"),),
    "ES": ((" S.L.", " SL"), (" S.A.", " SA")),
    "IT": ((" S.p.A.", " SpA", " spa"), (" S.r.l.", " Srl", " SRL")),
    "NL": ((" B.V.", " BV", " b.v."), (" N.V.", " NV")),
    "IN": ((" Pvt. Ltd.", " Private Limited", " Pvt Ltd"),),
    "JP": ((" K.K.", " KK", " Co., Ltd."),),
    "BR": ((" Ltda.", " Ltda", " LTDA"), (" S.A.", " SA")),
    "PL": ((" Sp. z o.o.", " sp. z o. o.", " SP. Z O.O."), (" S.A.", " SA")),
}
"""Legal forms of a country's companies, each in its spellings, as they follow the name."""

COUNTRY_SPELLINGS: dict[str, tuple[str, ...]] = {
    "US": ("United States", "US", "USA", "U.S.A.", "united states", "United States of America"),
    "CA": ("Canada", "CA", "CANADA", "CAN"),
    "GB": ("United Kingdom", "GB", "UK", "U.K.", "England", "Great Britain"),
    "DE": ("Germany", "DE", "Deutschland", "GERMANY", "D"),
    "FR": ("France", "FR", "FRANCE", "FRA"),
    "AU": ("Australia", "AU", "AUS", "australia"),
    "ES": ("Spain", "ES", "España", "SPAIN"),
    "IT": ("Italy", "IT", "Italia", "ITALY"),
    "NL": ("Netherlands", "NL", "The Netherlands", "Nederland", "Holland"),
    "IN": ("India", "IN", "INDIA"),
    "JP": ("Japan", "JP", "日本", "JAPAN"),
    "BR": ("Brazil", "BR", "Brasil"),
    "PL": ("Poland", "PL", "Polska"),
}
"""Spellings of a country: the English name first, the ISO code second."""

LINKEDIN_FORMS: tuple[str, ...] = (
    "https://www.linkedin.com/in/{0}",
    "https://www.linkedin.com/in/{0}/",
    "http://www.linkedin.com/in/{0}",
    "http://linkedin.com/in/{0}",
    "https://linkedin.com/in/{0}/",
    "www.linkedin.com/in/{0}",
    "linkedin.com/in/{0}",
    "https://uk.linkedin.com/in/{0}",
    "https://de.linkedin.com/in/{0}/",
    "https://www.linkedin.com/in/{0}/?originalSubdomain=fr",
    "https://www.linkedin.com/in/{0}?trk=people-guest_people_search-card",
    "HTTPS://WWW.LINKEDIN.COM/IN/{1}",
    "https://www.LinkedIn.com/in/{0}",
    "https://m.linkedin.com/in/{0}",
    "https://www.linkedin.com/in/{0}/de",
)
"""URLs of one profile: {0} is the profile's name, {1} the same in capitals."""

LINKEDIN_CANONICAL = "https://www.linkedin.com/in/{0}"


def linkedin_legacy(profile: str) -> str:
    """The profile's URL as it was before `/in/`.

    LinkedIn redirects `/pub/anna-keller/a7/576/b50` to `/in/anna-keller-b50576a7`; `profile` ends
    in such eight hexadecimal digits.
    """
    name, digits = profile[:-9], profile[-8:]
    return f"http://www.linkedin.com/pub/{name}/{digits[6:]}/{digits[3:6]}/{digits[:3]}"


def _title_case(address: str) -> str:
    return address.title()


def _capital_name(address: str) -> str:
    name, at, domain = address.partition("@")
    return f"{name.title()}{at}{domain}"


def _capital_domain(address: str) -> str:
    name, at, domain = address.partition("@")
    return f"{name}{at}{domain.upper()}"


def _bracketed_at(address: str) -> str:
    return address.replace("@", "(at)")


def _double_at(address: str) -> str:
    return address.replace("@", "@@")


def _trailing_dot(address: str) -> str:
    return f"{address}."


def _no_top_level(address: str) -> str:
    return address.rpartition(".")[0]


def _blank_for_at(address: str) -> str:
    return address.replace("@", " ")


def _comma_for_dot(address: str) -> str:
    name, _, ending = address.rpartition(".")
    return f"{name},{ending}"


EMAIL_CASES: tuple[Callable[[str], str], ...] = (
    _title_case,
    _capital_name,
    _capital_domain,
    str.upper,
)
"""Mixed cases of an address; case never tells two mailboxes apart here."""

EMAIL_PADDINGS: tuple[str, ...] = (" {0}", "{0} ", "  {0}  ", "{0}\t", "\u00a0{0}")

MALFORMED_EMAILS: tuple[Callable[[str], str], ...] = (
    _bracketed_at,
    _double_at,
    _trailing_dot,
    _no_top_level,
    _blank_for_at,
    _comma_for_dot,
)
"""Addresses no mail would reach."""

PLACEHOLDER_EMAILS: tuple[str, ...] = (
    "noemail@noemail.com",
    "n/a",
    "-",
    "test",
    "none@none.com",
    "unknown@example.com",
    "no email",
)
PLACEHOLDER_PHONES: tuple[str, ...] = (
    "n/a",
    "-",
    "test",
    "0",
    "000-000-0000",
    "TBD",
    "call main desk",
)

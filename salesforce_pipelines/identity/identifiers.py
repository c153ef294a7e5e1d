"""Identifiers of people in one form, so that equal means the same person, address or line.

Every rule gives None where it cannot be sure: a missed match costs a look, a wrong one writes
somebody else's data.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.metadata import version
from urllib.parse import unquote, urlsplit

import idna
import phonenumbers
import pyarrow as pa
import pyarrow.compute as pc
from cleanco.clean import prepare_default_terms
from cleanco.non_nfkd_map import NON_NFKD_MAP
from nicknames import NickNamer

from salesforce_pipelines.config.models import IDENTIFIER_KINDS, Identifiers, NameCompany
from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.identity import shortcuts, vocabulary

_RULES = "1"  # Raise it with every change of a rule.

_INVISIBLE = dict.fromkeys(
    [0x00AD, 0xFEFF, *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x206A)]
)

_LOCAL_PART = re.compile(r"[\w!#$%&'*+/=?^`{|}~-]+(\.[\w!#$%&'*+/=?^`{|}~-]+)*")
_DOMAIN = re.compile(r"([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+([a-z]{2,63}|xn--[a-z0-9-]{1,59})")

_EXTENSION = re.compile(
    r"(?:;\s*ext\s*=|[\s,;]*(?:extension|extn|ext|xtn|x|#)[\s.:#]*)(\d{1,7})$", re.IGNORECASE
)
_CODE_OF_NORTH_AMERICA = 1
_TELEPHONE = re.compile(
    r"(?:(?:tel|phone|ph|mobile|cell|[tmp])[.:]\s*)?(\+?[\d\s().\-/‐-―·•]+)", re.IGNORECASE
)
_NORTH_AMERICAN = re.compile(r"[2-9]\d\d[2-9]\d{6}")
_SEQUENCES = ("1234567890", "0123456789", "9876543210")
_DIRECTORY_ASSISTANCE = "5551212"

_PROFILE = re.compile(r"/(?:(?:m|mwlite)/)?in/([^/]+)(?:/.*)?", re.IGNORECASE)
_LEGACY_PROFILE = re.compile(
    r"/pub/([^/]+)/([0-9a-f]{1,3})/([0-9a-f]{1,3})/([0-9a-f]{1,3})(?:/.*)?", re.IGNORECASE
)
_SLUG = re.compile(r"[^\s/%?#@]{3,100}")
_OPAQUE_SLUG = re.compile(r"AC[ow]AA[\w-]{20,}")

_LETTERS = str.maketrans({**NON_NFKD_MAP, "ı": "i", "æ": "ae", "œ": "oe", "þ": "th", "ð": "d"})
_APOSTROPHES_AND_DOTS = dict.fromkeys(map(ord, "'’‘ʼʻ`´′."))
_ASIDE = re.compile(r"\(([^()]*)\)|\[([^\[\]]*)\]|[\"“”„]([^\"“”„]*)[\"“”]")

_COUNTRIES = re.compile(r"\b(?:united states(?: of america)?|(united kingdom))\b")


def rules_version() -> str:
    """What the normalised values depend on, besides the text: these rules and their libraries.

    Values made under another version must be made anew before they are compared.
    """
    libraries = ("cleanco", "idna", "nicknames", "phonenumbers")
    return " ".join([_RULES, *(f"{library}-{version(library)}" for library in libraries)])


def normalise_email(text: str) -> str | None:
    """An e-mail address in lower case, its domain in ASCII (IDNA 2008, UTS 46).

    None for what is not one address, for stand-ins such as `noemail@…` and `test@…`, and for the
    mailboxes of a role such as `info@…` (RFC 2142), which name no person. Nothing is done about
    dots or `+tags`: whether they matter is for the mail provider to say.
    """
    written = _visible(text)
    if named := re.fullmatch(r"[^<>]*<([^<>]*)>", written):
        written = named[1]
    if written[:7].lower() == "mailto:":
        written = unquote(written[7:].partition("?")[0])
    local, _, domain = written.strip(" \t\r\n;,'\"").rpartition("@")
    local = unicodedata.normalize("NFC", local).lower()
    ascii_domain = _ascii_domain(domain)
    if ascii_domain is None or not _LOCAL_PART.fullmatch(local) or len(local.encode()) > 64:
        return None
    return None if _names_nobody(local, ascii_domain) else f"{local}@{ascii_domain}"


def normalise_phone(text: str, region: str) -> str | None:
    """A telephone number in E.164, with its extension as in RFC 3966: `+12125550100;ext=12`.

    A number with an extension is another line than the number alone: dropping it would make a
    switchboard into an identifier. None for what is not one whole number that could be dialled,
    for stand-ins such as 000-000-0000, and for letters. Numbers kept for fiction (555-01xx) count.

    Args:
        text: The number as written.
        region: The country (ISO 3166, two capitals) of numbers without a country's prefix.
    """
    written = unicodedata.normalize("NFKC", _visible(text))
    extension = _EXTENSION.search(written)
    main = _TELEPHONE.fullmatch(written[: extension.start()] if extension else written)
    if main is None:
        return None
    dialled = main[1].strip()
    if dialled.startswith("00") and region in shortcuts.NORTH_AMERICA:
        # No number there begins with 0: it is the international prefix of most other countries.
        dialled = f"+{dialled[2:]}"
    try:
        number = phonenumbers.parse(dialled, region)
    except phonenumbers.NumberParseException:
        return None
    # Not is_possible_number, to which a number without its area code is possible too.
    possible = phonenumbers.is_possible_number_with_reason(number)
    if possible != phonenumbers.ValidationResult.IS_POSSIBLE or _is_made_up(number):
        return None
    e164: str = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    if number.country_code != _CODE_OF_NORTH_AMERICA and phonenumbers.parse(e164) != number:
        # Several prefixes in a row, as in +49 00 1000: no number that could be dialled.
        return None
    return f"{e164};ext={extension[1]}" if extension else e164


def normalise_linkedin_url(text: str) -> str | None:
    """A person's LinkedIn profile as `in/<slug>`, in lower case and without percent-encoding.

    Legacy addresses `/pub/name/a/b/c` become `in/name-cba`, where LinkedIn redirects them, b and c
    padded to three digits. Member ids (`ACoAA…`) keep their case, which tells members apart. None
    for companies, schools, searches, Sales Navigator, other sites, bare names, and `/in/me`,
    which is whoever looks.
    """
    path = _linkedin_path(_visible(text))
    if legacy := _LEGACY_PROFILE.fullmatch(path):
        name, a, b, c = legacy.groups()
        slug = f"{name}-{c.zfill(3)}{b.zfill(3)}{a}"
    elif profile := _PROFILE.fullmatch(path):
        slug = profile[1].strip()
    else:
        return None
    if not _OPAQUE_SLUG.fullmatch(slug):
        slug = unicodedata.normalize("NFC", slug).lower()
    return f"in/{slug}" if _SLUG.fullmatch(slug) and slug not in vocabulary.NO_PROFILE else None


@lru_cache(maxsize=1 << 16)
def normalise_name(text: str) -> str | None:
    """A first or a last name without case, accents, spaces and punctuation: `O’Néill` is `oneill`.

    What stands in brackets or quotes is left out, so are honorifics before and credentials after
    a comma. None for a lone initial, which many share, and for stand-ins such as `unknown`.
    Letters of other scripts are kept as they are.
    """
    return _name(_ASIDE.sub(" ", text))


@lru_cache(maxsize=1 << 16)
def normalise_company(text: str) -> str | None:
    """A company's name in plain words: `The Procter & Gamble Co.` is `procter and gamble`.

    Without case, accents, punctuation, a leading "the" and trailing legal forms (cleanco's list
    less those that are ordinary words); `U.S.`, `USA` and `United States` are one. None for
    stand-ins such as `self-employed` or `unknown`.
    """
    words = _company_words(text)
    if len(words) > 1 and words[0] == "the":
        words = words[1:]
    said = _COUNTRIES.sub(lambda country: "uk" if country[1] else "us", " ".join(words))
    words = _without_legal_forms([vocabulary.SAME_WORDS.get(word, word) for word in said.split()])
    return " ".join(words) if words and "".join(words) not in vocabulary.NO_COMPANY else None


def name_company_key(first: str, last: str, company: str) -> str | None:
    """First name, last name and company as one identifier: `ada|lovelace|analytical engines`.

    None where a part is missing, and where the company is but the person or the household.
    """
    return _key(normalise_name(first), normalise_name(last), normalise_company(company))


@lru_cache(maxsize=1 << 16)
def first_name_forms(first: str) -> tuple[str, ...]:
    """The normalised forms of a first name, its own first; empty where it has none.

    Its own are the name and a nickname it states in brackets or quotes: `James (Jim)`. Then come
    the name without initials, and the nicknames and full names that the `nicknames` library knows
    for them. Forms of forms are not followed: Bob may be Robert and Robert may be Rob, but Bob is
    not taken for Rob.
    """
    own = _own_forms(first)
    bare = [form for form in [_without_initials(first)] if form]
    known = [form for name in dict.fromkeys([*own, *bare]) for form in _nicknames(name)]
    return tuple(dict.fromkeys([*own, *bare, *known]))


def identifiers(
    batch: pa.RecordBatch | pa.Table,
    fields: Identifiers,
    *,
    key: str,
    region: str,
    separator: str | None = None,
    nicknames: bool = False,
) -> pa.Table:
    """The identifiers of every row, in its order.

    Args:
        batch: Rows with the key and every column of `fields`, all strings; Account.Name of a
            Contact is a column of that name.
        fields: Which columns hold which identifier.
        key: The column that names the row: `Id` of a record, `person_id` of a person.
        region: The country of telephone numbers without a prefix, such as `US`.
        separator: What stands between several values in one cell; None where a cell is one value.
            Names and companies are never split.
        nicknames: Whether `name_company_nickname` is filled.

    Returns:
        Columns `key` (string) and, each `list<string>` of distinct values in the order of the
        configured columns, empty where there is none: `work_email`, `personal_email`, `phone`,
        `linkedin_url`, `name_company` (`first|last|company`), `name_company_nickname` (keys by
        the other forms of the first name), and `last_name` (its words and the whole of it, which
        identify nobody but tell whose a telephone is not).

    Raises:
        PipelineError: A column is missing or the region is not a country.
    """
    _check(batch, (key, *fields.columns()), region)
    table = pa.table(batch) if isinstance(batch, pa.Table) else pa.Table.from_batches([batch])
    rules: dict[str, tuple[_Shortcut, _Rule]] = {
        "work_email": (shortcuts.emails, normalise_email),
        "personal_email": (shortcuts.emails, normalise_email),
        "phone": (
            lambda texts: shortcuts.phones(texts, region),
            lambda text: normalise_phone(text, region),
        ),
        "linkedin_url": (shortcuts.linkedin_urls, normalise_linkedin_url),
    }
    columns: dict[str, pa.Array | pa.ChunkedArray] = {"key": table.column(key)}
    for kind, (shortcut, rule) in rules.items():
        texts = [_texts(table, name, separator) for name in getattr(fields, kind)]
        columns[kind] = _lists(table.num_rows, texts, shortcut, rule)
    exact, soft = _name_companies(table, fields.name_company, nicknames)
    columns |= {"name_company": exact, "name_company_nickname": soft}
    columns["last_name"] = _last_names(table, fields.name_company)
    return pa.table(columns, schema=SCHEMA)


SCHEMA = pa.schema(
    [pa.field("key", pa.string())]
    + [
        pa.field(kind, pa.list_(pa.string()))
        for kind in (*IDENTIFIER_KINDS, "name_company_nickname", "last_name")
    ]
)

_Rule = Callable[[str], str | None]
_Shortcut = Callable[[pa.StringArray], pa.StringArray]


def _check(batch: pa.RecordBatch | pa.Table, wanted: Sequence[str], region: str) -> None:
    for name in wanted:
        if name not in batch.schema.names:
            raise PipelineError(f"identifiers: the data have no column {name!r}")
    if region not in phonenumbers.SUPPORTED_REGIONS:
        raise PipelineError(
            f"matching.default_region: {region!r} is no country; write its two letters, such as US"
        )


def _texts(
    table: pa.Table, name: str, separator: str | None
) -> tuple[pa.Int64Array, pa.StringArray]:
    """The single values of a column and the numbers of the rows they stand in."""
    column = table.column(name).combine_chunks().cast(pa.string())
    lists = pc.split_pattern(column, separator or "\x00")
    return pc.list_parent_indices(lists), pc.list_flatten(lists)


def _lists(
    rows: int,
    columns: Sequence[tuple[pa.Int64Array, pa.StringArray]],
    shortcut: _Shortcut,
    rule: _Rule,
) -> pa.ListArray:
    found: list[dict[str, None]] = [{} for _ in range(rows)]
    for parents, texts in columns:
        answers = zip(
            parents.to_pylist(), shortcut(texts).to_pylist(), texts.to_pylist(), strict=True
        )
        for row, quick, text in answers:
            if value := quick or rule(text):
                found[row][value] = None
    return pa.array([list(values) for values in found], pa.list_(pa.string()))


def _name_companies(
    table: pa.Table, parts: NameCompany | None, nicknames: bool
) -> tuple[pa.ListArray, pa.ListArray]:
    exact: list[list[str]] = [[] for _ in range(table.num_rows)]
    soft: list[list[str]] = [[] for _ in range(table.num_rows)]
    if parts is not None:
        names = (parts.first, parts.last, parts.company)
        rows = zip(*(table.column(name).to_pylist() for name in names), strict=True)
        for number, (first, last, company) in enumerate(rows):
            if first and last and company:
                exact[number], soft[number] = _name_company(first, last, company, nicknames)
    strings = pa.list_(pa.string())
    return pa.array(exact, strings), pa.array(soft, strings)


def _name_company(
    first: str, last: str, company: str, nicknames: bool
) -> tuple[list[str], list[str]]:
    family, firm = normalise_name(last), normalise_company(company)
    own = _own_forms(first)
    exact = [key for form in own if (key := _key(form, family, firm))]
    others = first_name_forms(first)[len(own) :] if nicknames else ()
    return exact, [key for form in others if (key := _key(form, family, firm))]


def _last_names(table: pa.Table, parts: NameCompany | None) -> pa.ListArray:
    texts = table.column(parts.last).to_pylist() if parts else [None] * table.num_rows
    return pa.array([_last_name_words(text or "") for text in texts], pa.list_(pa.string()))


@lru_cache(maxsize=1 << 16)
def _last_name_words(last: str) -> tuple[str, ...]:
    words = [word for word in _name_words(_ASIDE.sub(" ", last)) if _usable_name(word)]
    telling = [word for word in words if word not in vocabulary.PARTICLES] or words
    return tuple(dict.fromkeys([*telling, *filter(None, [normalise_name(last)])]))


def _key(first: str | None, last: str | None, company: str | None) -> str | None:
    if first is None or last is None or company is None or company.endswith(" household"):
        return None
    itself = company.replace(" ", "") in (first + last, last + first)
    return None if itself else f"{first}|{last}|{company}"


def _visible(text: str) -> str:
    return (text if text.isascii() else text.translate(_INVISIBLE)).strip()


def _ascii_domain(domain: str) -> str | None:
    domain = domain.removesuffix(".").lower()
    if not domain.isascii() or "xn--" in domain:
        try:
            domain = idna.encode(domain, uts46=True).decode("ascii")
        except idna.IDNAError:
            return None
    return domain if len(domain) <= 253 and _DOMAIN.fullmatch(domain) else None


def _names_nobody(local: str, domain: str) -> bool:
    word = re.sub(r"[._-]", "", local.partition("+")[0]).rstrip("0123456789")
    label = domain.partition(".")[0].replace("-", "")
    stands_for_nothing = word in vocabulary.NO_ADDRESS or label in vocabulary.NO_DOMAIN
    return stands_for_nothing or word in vocabulary.ROLES or domain.endswith(".invalid")


def _is_made_up(number: phonenumbers.PhoneNumber) -> bool:
    national: str = phonenumbers.national_significant_number(number)
    repeats = len(set(national[-7:])) == 1 or national.startswith("00")
    if repeats or any(national in sequence for sequence in _SEQUENCES):
        return True
    return number.country_code == 1 and (
        not _NORTH_AMERICAN.fullmatch(national) or national.endswith(_DIRECTORY_ASSISTANCE)
    )


def _linkedin_path(text: str) -> str:
    """The decoded path on LinkedIn; empty for another place."""
    if re.match(r"/?in/", text, re.IGNORECASE):
        return unquote("/" + re.split(r"[?#]", text.lstrip("/"))[0])
    try:
        url = urlsplit(text if "://" in text else f"https://{text.lstrip('/')}")
        host = url.hostname or ""
    except ValueError:
        return ""
    on_linkedin = url.scheme in ("http", "https") and f".{host}".endswith(".linkedin.com")
    return unquote(url.path) if on_linkedin else ""


def _folded(text: str) -> str:
    """Text without case, and without accents on Latin and Greek letters."""
    text = _visible(text).casefold()
    if text.isascii():
        return text
    kept, marks_tell = [], False
    for character in unicodedata.normalize("NFKD", text).translate(_LETTERS):
        category = unicodedata.category(character)
        if category != "Mn":
            # In other scripts a mark makes another letter: Japanese が is not か.
            accented = unicodedata.name(character, "").startswith(("LATIN", "GREEK"))
            marks_tell = category[0] == "L" and not accented
        elif not marks_tell:
            continue
        kept.append(character)
    return unicodedata.normalize("NFKC", "".join(kept)).casefold()


def _words(folded: str) -> list[str]:
    spaced = folded.translate(_APOSTROPHES_AND_DOTS)
    # Marks belong to words, which \w does not know.
    return "".join(c if unicodedata.category(c)[0] in "LNM" else " " for c in spaced).split()


def _name(text: str) -> str | None:
    return _usable_name("".join(_name_words(text)))


def _name_words(text: str) -> list[str]:
    """The words of a name without honorifics and credentials."""
    written, *rest = text.split(",")
    words = _words(_folded(written))
    for part in rest:
        more = _words(_folded(part))
        words += [] if vocabulary.CREDENTIALS.issuperset(more) else more
    return words[1:] if len(words) > 1 and words[0] in vocabulary.HONORIFICS else words


def _usable_name(name: str) -> str | None:
    usable = any(map(str.isalpha, name)) and not _is_initial(name)
    return name if usable and name not in vocabulary.NO_NAME else None


def _is_initial(word: str) -> bool:
    # One letter of a script with capitals; one ideograph is a whole name.
    return len(word) == 1 and word.upper() != word


@lru_cache(maxsize=1 << 16)
def _own_forms(first: str) -> tuple[str, ...]:
    asides = ["".join(filter(None, groups)) for groups in _ASIDE.findall(first)]
    # Only what is known as a name: brackets also hold pronouns, regions and remarks.
    stated = [form for aside in asides if (form := _name(aside)) and _nicknames(form)]
    return tuple(dict.fromkeys([*filter(None, [normalise_name(first)]), *stated]))


def _without_initials(first: str) -> str | None:
    words = _name_words(_ASIDE.sub(" ", first))
    return _usable_name("".join(word for word in words if not _is_initial(word)))


@lru_cache(maxsize=1)
def _nicknamer() -> NickNamer:
    return NickNamer()


@lru_cache(maxsize=1 << 16)
def _nicknames(name: str) -> tuple[str, ...]:
    known = _nicknamer().nicknames_of(name) | _nicknamer().canonicals_of(name)
    return tuple(form for text in sorted(known) if (form := normalise_name(text)))


def _company_words(text: str) -> list[str]:
    words: list[str] = []
    initials = False
    for word in _words(_folded(text).replace("&", " and ")):
        # J. P. Morgan is JP Morgan.
        if initials and _is_initial(word):
            words[-1] += word
        else:
            words.append(word)
        initials = _is_initial(word)
    return words


def _without_legal_forms(words: list[str]) -> list[str]:
    forms = _legal_forms()
    size = 4
    while size:
        if len(words) > size and tuple(words[-size:]) in forms:
            words, size = words[:-size], 4
        else:
            size -= 1
    return words


@lru_cache(maxsize=1)
def _legal_forms() -> frozenset[tuple[str, ...]]:
    known = [" ".join(words) for _, words in prepare_default_terms()]
    forms = {tuple(_company_words(form)) for form in (*known, *vocabulary.LEGAL_FORMS)}
    return frozenset(forms - {(word,) for word in vocabulary.NOT_A_LEGAL_FORM})

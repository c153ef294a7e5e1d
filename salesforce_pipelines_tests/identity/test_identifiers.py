from typing import Any

import phonenumbers
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from salesforce_pipelines.config.models import Identifiers, NameCompany
from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.identity.identifiers import (
    SCHEMA,
    first_name_forms,
    identifiers,
    name_company_key,
    normalise_company,
    normalise_email,
    normalise_linkedin_url,
    normalise_name,
    normalise_phone,
    rules_version,
)


def words(text: str) -> list[str]:
    return text.split()


@pytest.mark.parametrize(
    "text",
    [
        "ada.king@example.com",
        "  Ada.King@Example.COM\t",
        "\u00a0ada.king@example.com\u200b",
        "mailto:ada.king@example.com",
        "MAILTO:Ada.King%40example.com?subject=Hello",
        "Ada King <ada.king@example.com>",
        "'ada.king@example.com';",
        "ada.king@example.com.",
    ],
)
def test_one_address_has_one_form(text):
    assert normalise_email(text) == "ada.king@example.com"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("a.d.a@gmail.com", "a.d.a@gmail.com"),
        ("ada+crm@example.com", "ada+crm@example.com"),
        ("ada@MÜNCHEN.example", "ada@xn--mnchen-3ya.example"),
        ("ada@xn--mnchen-3ya.example", "ada@xn--mnchen-3ya.example"),
        ("ada@straße.example", "ada@xn--strae-oqa.example"),
        ("zoé@example.com", "zoé@example.com"),
        ("zoe\u0301@example.com", "zoé@example.com"),
        ("o'brien@example.com", "o'brien@example.com"),
        ("tester.jones@example.com", "tester.jones@example.com"),
        ("nora@acme.example", "nora@acme.example"),
    ],
)
def test_addresses_are_kept_apart(text, address):
    assert normalise_email(text) == address


@pytest.mark.parametrize(
    "text",
    [
        *["", " ", "a@example.com b@example.com", "x" * 65 + "@example.com"],
        *words("""
        ada ada@ @example.com ada@example ada@@example.com ada@king@example.com
        ada..king@example.com .ada@example.com ada.@example.com ada@-example.com
        ada@exam_ple.com ada@example..com ada@192.168.0.1 ada@[192.168.0.1] "ada"@example.com
        a@example.com;b@example.com a@example.com,b@example.com ada(at)example.com
        ada@example.c ada@xn--a.example
        """),
    ],
)
def test_what_is_not_one_address_is_none(text):
    assert normalise_email(text) is None


@pytest.mark.parametrize(
    "text",
    words("""
    noemail@example.com no.email@example.com NO-EMAIL@example.com no_email12@example.com
    test@example.com test1@example.com none@example.com unknown@example.com n.a@example.com
    n/a na@example.com ada@noemail.com ada@none.com ada@no-email.example ada@example.invalid
    info@example.com sales@example.com no-reply@example.com postmaster@example.com
    """),
)
def test_stand_ins_and_roles_are_none(text):
    assert normalise_email(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "212-555-0123",
        "(212) 555-0123",
        "212.555.0123",
        "2125550123",
        "1 212 555 0123",
        "1-212-555-0123",
        "+1 (212) 555-0123",
        "+12125550123",
        " \u202a212\u2011555\u20110123\u202c ",
        "tel:+1-212-555-0123",
        "Phone: 212 555 0123",
        "001 212 555 0123",
        "٢١٢-٥٥٥-٠١٢٣",
    ],
)
def test_one_telephone_has_one_form(text):
    assert normalise_phone(text, "US") == "+12125550123"


@pytest.mark.parametrize(
    ("text", "region", "number"),
    [
        ("+44 (0)20 7946 0958", "US", "+442079460958"),
        ("020 7946 0958", "GB", "+442079460958"),
        ("011 44 20 7946 0958", "US", "+442079460958"),
        ("0044 20 7946 0958", "US", "+442079460958"),
        ("0044 20 7946 0958", "DE", "+442079460958"),
        ("+49 30 23125-000", "US", "+493023125000"),
        ("+39 06 1234 5678", "US", "+390612345678"),
        ("212-555-0123 x12", "US", "+12125550123;ext=12"),
        ("212-555-0123 ext. 12", "US", "+12125550123;ext=12"),
        ("212-555-0123, extension 12", "US", "+12125550123;ext=12"),
        ("+1-212-555-0123;ext=12", "US", "+12125550123;ext=12"),
        ("212-555-0123 #12", "US", "+12125550123;ext=12"),
    ],
)
def test_telephones_of_the_world(text, region, number):
    assert normalise_phone(text, region) == number


@pytest.mark.parametrize(
    "text",
    [
        *["", "-", "n/a", "TBD", "0", "555-0123", "0123456789", "123-456-7890", "987-654-3210"],
        *["000-000-0000", "111-111-1111", "999 999 9999", "212-000-0000", "212-999-9999"],
        *["212-155-0123", "112-555-0123", "212-555-1212", "1-800-FLOWERS", "call 212-555-0123"],
        *["212-555-0123 or 0124", "212-555-0123 / 212-555-0124", "212-555-01234567", "+999 12345"],
        *["x12", "ext 12", "fax: 212-555-0123"],
    ],
)
def test_what_could_not_be_dialled_is_none(text):
    assert normalise_phone(text, "US") is None


@pytest.mark.parametrize(
    "text",
    [
        "in/ada-king",
        "/in/ada-king/",
        "linkedin.com/in/ada-king",
        "www.linkedin.com/in/Ada-King/",
        "https://www.linkedin.com/in/ada-king",
        "HTTP://WWW.LINKEDIN.COM/IN/ADA-KING",
        "https://uk.linkedin.com/in/ada-king?trk=public_profile#about",
        "//linkedin.com/in/ada-king/de",
        "https://m.linkedin.com/mwlite/in/ada-king",
        "https://www.linkedin.com/in/%61da%2Dking",
        " https://www.linkedin.com/in/ada-king/details/experience/ ",
    ],
)
def test_one_profile_has_one_form(text):
    assert normalise_linkedin_url(text) == "in/ada-king"


@pytest.mark.parametrize(
    ("text", "profile"),
    [
        ("https://www.linkedin.com/in/zo%C3%A9-x", "in/zoé-x"),
        ("https://www.linkedin.com/in/zoe%CC%81-x", "in/zoé-x"),
        ("http://linkedin.com/pub/ada-king/a7/576/b50?trk=x", "in/ada-king-b50576a7"),
        ("http://linkedin.com/pub/ada-king/5/12/3", "in/ada-king-0030125"),
        ("linkedin.com/in/ACoAABcDeFgHiJkLmNoPqRsTuVwXyZ", "in/ACoAABcDeFgHiJkLmNoPqRsTuVwXyZ"),
    ],
)
def test_profiles_in_other_writings(text, profile):
    assert normalise_linkedin_url(text) == profile


@pytest.mark.parametrize(
    "text",
    [
        *["", "ada-king", "linkedin.com", "https://www.linkedin.com/feed/", "lnkd.in/abc"],
        *["https://www.linkedin.com/company/acme", "https://www.linkedin.com/school/acme"],
        *["https://www.linkedin.com/in/", "https://www.linkedin.com/in/me", "in/your-name"],
        *["https://linkedin.com.example.org/in/ada-king", "https://example.org/in/ada-king"],
        *["https://notlinkedin.com/in/ada-king", "ftp://linkedin.com/in/ada-king"],
        *["https://www.linkedin.com/pub/dir/ada/king", "https://[::1/in/ada-king"],
        "https://www.linkedin.com/sales/lead/ACwAAA",
    ],
)
def test_what_is_not_a_profile_is_none(text):
    assert normalise_linkedin_url(text) is None


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("  GARCÍA ", "garcia"),
        ("Müller", "muller"),
        ("Strauß", "strauss"),
        ("Łukasz", "lukasz"),
        ("Ørsted", "orsted"),
        ("İbrahim", "ibrahim"),
        ("O’Neill", "oneill"),
        ("O'Neill", "oneill"),
        ("Jean-Luc", "jeanluc"),
        ("De La Cruz", "delacruz"),
        ("J. D.", "jd"),
        ("JD", "jd"),
        ("James (Jim)", "james"),
        ('William "Bill"', "william"),
        ("Dr. Ada", "ada"),
        ("King, PhD", "king"),
        ("King, Jr.", "kingjr"),
        ("がく", "がく"),
        ("伟", "伟"),
        ("สมชาย", "สมชาย"),
        ("Γιώργος", "γιωργοσ"),
    ],
)
def test_names(text, name):
    assert normalise_name(text) == name


def test_letters_of_other_scripts_are_not_folded_together():
    assert normalise_name("がく") != normalise_name("かく")
    assert normalise_name("Бой") != normalise_name("Бои")


@pytest.mark.parametrize("text", ["", "-", "J.", "x", "n/a", "Unknown", "[not provided]", "123"])
def test_what_is_not_a_name_is_none(text):
    assert normalise_name(text) is None


@pytest.mark.parametrize(
    "spellings",
    [
        [
            "U.S. House of Representatives",
            "United States House of Representatives",
            "US House of Representatives",
            "The United States of America House of Representatives",
        ],
        ["Procter & Gamble", "The Procter and Gamble Co.", "PROCTER & GAMBLE COMPANY"],
        ["Acme", "Acme, Inc.", "ACME Incorporated", "Acme LLC", "Acme Corp", "Acme Co., Ltd."],
        [
            "Acme",
            "Acme GmbH",
            "Acme GmbH & Co. KG",
            "Acme GmbH und Co. KG",
            "Acme A.G.",
            "Acme e.K.",
            "Acme Aktiengesellschaft",
            "Acme S.A.R.L.",
            "Acme Sp. z o.o.",
            "Acme sp. z o. o.",
            "Acme Pty. Ltd.",
            "Acme Proprietary Limited",
            "Acme Private Limited",
            "Acme A/S",
            "Acme B.V.",
            "Acme SA",
        ],
        ["J. P. Morgan", "J.P. Morgan", "JP Morgan"],
        ["Macy's", "Macy’s", "MACYS"],
        ["Müller & Söhne", "Muller und Sohne"],
        ["Univ. of Iowa", "University of Iowa"],
        ["Acme UK", "Acme (U.K.)", "Acme United Kingdom Ltd"],
    ],
)
def test_spellings_of_one_company_are_one(spellings):
    assert len({normalise_company(text) for text in spellings}) == 1
    assert normalise_company(spellings[0])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Serenity Spa", "Serenity"),
        ("Acme UK", "Acme"),
        ("Acme Canada", "Acme USA"),
        ("Smith Associates", "Smith Association"),
        ("St. John", "Saint John"),
        ("Acme 1", "Acme 2"),
        ("北京银行", "南京银行"),
    ],
)
def test_companies_that_may_differ_stay_apart(one, other):
    assert normalise_company(one) != normalise_company(other)


@pytest.mark.parametrize(
    "text", ["", "-", "Self-Employed", "N/A", "[not provided]", "Retired", "xxx"]
)
def test_what_names_no_company_is_none(text):
    assert normalise_company(text) is None


def test_a_legal_form_alone_remains():
    assert normalise_company("The Limited") == "limited"


def test_name_company_key():
    assert name_company_key("Ada", "King", "The Acme Co.") == "ada|king|acme"
    assert name_company_key("A.", "King", "Acme") is None
    assert name_company_key("Ada", "King", "Ada King") is None
    assert name_company_key("Ada", "King", "King Household") is None
    assert name_company_key("Ada|King", "x|y", "Acme") == "adaking|xy|acme"


def test_forms_of_a_first_name():
    assert first_name_forms("Bernie")[0] == "bernie"
    assert "bernard" in first_name_forms("Bernie")
    assert "bernie" in first_name_forms("Bernard")
    assert first_name_forms("James (Jim)")[:2] == ("james", "jim")
    assert first_name_forms("John Q.")[:2] == ("johnq", "john")
    assert "french" in first_name_forms("J. French")
    assert first_name_forms("J.") == ()
    assert first_name_forms("Ada (she/her)") == first_name_forms("Ada")


TEXTS = st.one_of(
    st.text(max_size=40),
    st.text(st.sampled_from("aB.Zé'-_@ ,;(x1)İßが&/:%#?+"), max_size=30),
    st.from_regex(r"\A(https?://)?([a-z]{2}\.)?linkedin\.com/(in|pub)/[\w%-]{1,12}/?\Z"),
    st.from_regex(r"\A[ -~]{0,3}\+?[0-9 ().x-]{5,18}\Z"),
    st.emails(),
)


@settings(max_examples=1000)
@given(TEXTS)
@example("A¯")
@example("00200000000001")
@example("0049001000")
def test_rules_never_fail_and_hold_still(text):
    for rule in (normalise_email, normalise_linkedin_url, normalise_name, normalise_company):
        value = rule(text)
        assert value is None or (value == rule(value) and value.strip() == value != "")
    number = normalise_phone(text, "US")
    assert number is None or number == normalise_phone(number, "DE")
    first_name_forms(text)


@given(st.from_regex(r"\A[1-9][0-9]{6,13}\Z"), st.sampled_from(["US", "GB", "DE", "IT", "BR"]))
def test_telephones_are_what_the_library_says(digits, region):
    number = normalise_phone(digits, region)
    if number is not None:
        parsed = phonenumbers.parse(digits, region)
        assert number == phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
        assert phonenumbers.is_possible_number(parsed)


FIELDS = Identifiers(
    work_email=("Email",),
    personal_email=("Personal",),
    phone=("Mobile", "Phone"),
    linkedin_url=("LinkedIn",),
    name_company=NameCompany(first="FirstName", last="LastName", company="Account.Name"),
)


def contact(**values: str | None) -> dict[str, str | None]:
    return dict.fromkeys(["Id", *FIELDS.columns()]) | values


def found(*records: dict[str, str | None], **options: Any) -> list[dict[str, Any]]:
    schema = pa.schema([(name, pa.string()) for name in ["Id", *FIELDS.columns()]])
    batch = pa.RecordBatch.from_pylist(list(records), schema=schema)
    defaults: dict[str, Any] = {"key": "Id", "region": "US"}
    table = identifiers(batch, FIELDS, **(defaults | options))
    assert table.schema == SCHEMA
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def test_identifiers_of_records():
    ada = contact(
        Id="003A",
        Email=" Ada@Example.com",
        Personal="test@example.com",
        Mobile="n/a",
        Phone="212-555-0123",
        LinkedIn="https://www.linkedin.com/in/Ada-King/",
        FirstName="Ada",
        LastName="King",
    ) | {"Account.Name": "Acme, Inc."}
    assert found(ada, contact(Id="003B")) == [
        {
            "key": "003A",
            "work_email": ["ada@example.com"],
            "personal_email": [],
            "phone": ["+12125550123"],
            "linkedin_url": ["in/ada-king"],
            "name_company": ["ada|king|acme"],
            "name_company_nickname": [],
            "last_name": ["king"],
        },
        {"key": "003B"} | {name: [] for name in SCHEMA.names[1:]},
    ]


def test_values_are_distinct_and_in_the_order_of_the_columns():
    [row] = found(contact(Id="1", Mobile="+1 646 555 0111", Phone="646-555-0111"))
    assert row["phone"] == ["+16465550111"]
    [row] = found(contact(Id="1", Mobile="646-555-0112", Phone="646-555-0111"))
    assert row["phone"] == ["+16465550112", "+16465550111"]


def test_a_cell_with_a_separator_holds_several_values():
    cell = "212-555-0123; 646-555-0111;;212-555-0123"
    [row] = found(contact(Id="1", Phone=cell), separator=";")
    assert row["phone"] == ["+12125550123", "+16465550111"]
    [row] = found(contact(Id="1", Phone=cell))
    assert row["phone"] == []


def test_nicknames_only_when_asked_for():
    bill = contact(Id="1", FirstName="Bill (Billy)", LastName="De La Cruz") | {
        "Account.Name": "Acme"
    }
    [row] = found(bill)
    assert row["name_company"] == ["bill|delacruz|acme", "billy|delacruz|acme"]
    assert row["name_company_nickname"] == []
    [row] = found(bill, nicknames=True)
    assert row["name_company"] == ["bill|delacruz|acme", "billy|delacruz|acme"]
    assert "william|delacruz|acme" in row["name_company_nickname"]
    assert not set(row["name_company"]) & set(row["name_company_nickname"])


@pytest.mark.parametrize(
    ("last", "words"),
    [
        ("De La Cruz", ["cruz", "delacruz"]),
        ("King Jr.", ["king", "kingjr"]),
        ("Garcia-Lopez", ["garcia", "lopez", "garcialopez"]),
        ("Le", ["le"]),
        ("De", ["de"]),
        ("王", ["王"]),
        ("K.", []),
        ("Unknown", []),
    ],
)
def test_words_of_a_last_name(last, words):
    [row] = found(contact(Id="1", LastName=last))
    assert row["last_name"] == words


def test_only_what_is_mapped_is_read():
    fields = Identifiers(phone=("Phone",))
    table = identifiers(
        pa.table({"Id": ["1"], "Phone": ["212-555-0123"]}), fields, key="Id", region="US"
    )
    assert table.column("phone").to_pylist() == [["+12125550123"]]
    assert table.column("last_name").to_pylist() == [[]]


def test_an_empty_batch_gives_no_rows():
    assert found() == []


def test_a_missing_column_is_named():
    with pytest.raises(PipelineError, match=r"no column 'Account\.Name'"):
        identifiers(
            pa.table({name: pa.array([], pa.string()) for name in ["Id", *FIELDS.columns()][:-1]}),
            FIELDS,
            key="Id",
            region="US",
        )


def test_a_region_that_is_no_country_is_refused():
    with pytest.raises(PipelineError, match=r"default_region.*'XX'"):
        found(region="XX")


def test_the_version_of_the_rules_names_the_libraries():
    assert f"phonenumbers-{phonenumbers.__version__}" in rules_version()

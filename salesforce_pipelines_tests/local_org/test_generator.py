"""The generated CRM is reproducible, consistent, and as dirty as documented."""

import hashlib
import json
import os
import re
import subprocess
import sys
import unicodedata
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable
from itertools import islice, pairwise

import pytest

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.local_org.generated.generator import USERS, Row, records
from salesforce_pipelines.local_org.generated.population import EMPLOYEE_BANDS, Population
from salesforce_pipelines.local_org.generated.spellings import (
    PLACEHOLDER_EMAILS,
    PLACEHOLDER_PHONES,
)

CONTACTS, LEADS, SEED = 12_000, 6_000, 42

ORDER = ["User", "Account", "Contact", "Lead", "Campaign", "CampaignMember", "Opportunity"]
REFERENCES = {
    "AccountId": "Account",
    "OwnerId": "User",
    "ContactId": "Contact",
    "LeadId": "Lead",
    "CampaignId": "Campaign",
    "ConvertedContactId": "Contact",
    "ConvertedAccountId": "Account",
}
LENGTHS = {
    "Account": {"Name": 255, "Phone": 40, "Website": 255, "BillingStreet": 255, "BillingCity": 40},
    "Contact": {
        "FirstName": 40,
        "LastName": 80,
        "Email": 80,
        "Personal_Email__c": 80,
        "Phone": 40,
        "MobilePhone": 40,
        "LinkedIn_URL__c": 255,
        "Title": 128,
        "Department": 80,
        "MailingStreet": 255,
        "MailingCity": 40,
        "MailingState": 80,
        "MailingPostalCode": 20,
        "MailingCountry": 80,
        "Description": 32_000,
    },
    "Lead": {
        "FirstName": 40,
        "LastName": 80,
        "Company": 255,
        "Email": 80,
        "Personal_Email__c": 80,
        "Phone": 40,
        "MobilePhone": 40,
        "LinkedIn_URL__c": 255,
        "Title": 128,
        "Street": 255,
        "City": 40,
        "State": 80,
        "PostalCode": 20,
        "Country": 80,
        "Website": 255,
        "Description": 32_000,
    },
    "Campaign": {"Name": 80},
    "Opportunity": {"Name": 120},
    "User": {"Alias": 8, "Username": 80, "CommunityNickname": 40},
}
MISSING = ("NA", "null", "#N/A")


@pytest.fixture(scope="module")
def rows() -> dict[str, list[Row]]:
    by_object: dict[str, list[Row]] = defaultdict(list)
    for sobject, row in records(CONTACTS, LEADS, SEED):
        by_object[sobject].append(row)
    return by_object


def digest(stream: Iterable[tuple[str, Row]]) -> str:
    return hashlib.sha256(
        "\n".join(json.dumps(item, sort_keys=True) for item in stream).encode()
    ).hexdigest()


def text(row: Row, *fields: str) -> str:
    """The first of the fields that the row has, "" if blank."""
    return str(next((row[field] for field in fields if field in row), None) or "")


def test_same_arguments_give_the_same_stream_in_another_process() -> None:
    program = (
        "from salesforce_pipelines.local_org.generated.generator import records;"
        "from salesforce_pipelines_tests.local_org.test_generator import digest;"
        "print(digest(records(700, 300, 5)))"
    )
    other = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "12345"},
    )
    assert other.stdout.strip() == digest(records(700, 300, 5))


def test_another_seed_gives_other_people() -> None:
    names = [
        [
            (row["FirstName"], row["LastName"])
            for sobject, row in records(200, 0, seed)
            if sobject == "Contact"
        ]
        for seed in (1, 2)
    ]
    same = sum(first == second for first, second in zip(*names, strict=True))
    assert same < 10


def test_counts(rows: dict[str, list[Row]]) -> None:
    assert list(rows) == ORDER
    assert len(rows["Contact"]) == CONTACTS
    assert len(rows["Lead"]) == LEADS
    assert CONTACTS / 10 < len(rows["Account"]) < CONTACTS / 6
    assert len(rows["Campaign"]) == 3
    members = Counter(row["CampaignId"] for row in rows["CampaignMember"])
    assert all(150 <= count <= 200 for count in members.values())
    assert CONTACTS / 50 < len(rows["Opportunity"]) < CONTACTS / 10
    assert [row["IsActive"] for row in rows["User"]] == [True] * (USERS - 1) + [False]


def test_rows_of_an_object_have_the_same_fields(rows: dict[str, list[Row]]) -> None:
    for of_object in rows.values():
        assert len({tuple(row) for row in of_object}) == 1


def test_references_point_to_earlier_rows() -> None:
    seen: dict[str, set[object]] = defaultdict(set)
    seen["User"].add(0)
    for sobject, row in records(3000, 1500, 9):
        for field, target in REFERENCES.items():
            if row.get(field) is not None:
                assert row[field] in seen[target], (sobject, row["_key"], field)
        assert row["_key"] not in seen[sobject]
        seen[sobject].add(row["_key"])


def test_members_are_live_people_once_per_campaign(rows: dict[str, list[Row]]) -> None:
    deleted = {
        sobject: {row["_key"] for row in rows[sobject] if row["IsDeleted"]}
        for sobject in ("Contact", "Lead")
    }
    members = [
        (row["CampaignId"], row["ContactId"], row["LeadId"]) for row in rows["CampaignMember"]
    ]
    assert len(set(members)) == len(members)
    for _, contact, lead in members:
        assert (contact is None) != (lead is None)
        assert contact not in deleted["Contact"]
        assert lead not in deleted["Lead"]


def test_opportunities_are_of_their_contacts_account(rows: dict[str, list[Row]]) -> None:
    accounts = {row["_key"]: row["AccountId"] for row in rows["Contact"]}
    for row in rows["Opportunity"]:
        assert accounts[row["ContactId"]] == row["AccountId"]
        assert row["IsWon"] == (row["StageName"] == "Closed Won")


def test_lengths(rows: dict[str, list[Row]]) -> None:
    for sobject, lengths in LENGTHS.items():
        for field, length in lengths.items():
            longest = max(len(text(row, field)) for row in rows[sobject])
            assert longest <= length, (sobject, field)
    for sobject in ("Contact", "Lead"):
        assert all(row["LastName"] for row in rows[sobject])
    assert all(row["Company"] for row in rows["Lead"])


def test_external_ids_are_unique(rows: dict[str, list[Row]]) -> None:
    assert rows["Contact"][0]["External_Id__c"] == "GEN-C-000001"
    assert rows["Lead"][-1]["External_Id__c"] == f"GEN-L-{LEADS:06d}"
    for sobject in ("Contact", "Lead"):
        assert len({row["External_Id__c"] for row in rows[sobject]}) == len(rows[sobject])


def test_instants_are_ordered_bounded_and_sometimes_equal(rows: dict[str, list[Row]]) -> None:
    for sobject in ("Account", "Contact", "Lead", "CampaignMember", "Opportunity"):
        for row in rows[sobject]:
            created, modified, stamp = (
                str(row[field]) for field in ("CreatedDate", "LastModifiedDate", "SystemModstamp")
            )
            assert "2023-01-01T00:00:00Z" <= created <= modified <= stamp <= "2025-12-31T23:59:59Z"
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", stamp)
    contacts = rows["Contact"]
    assert 0.3 < share(contacts, lambda row: row["CreatedDate"] == row["SystemModstamp"]) < 0.5
    later = share(contacts, lambda row: row["SystemModstamp"] != row["LastModifiedDate"])
    assert 0.1 < later < 0.2
    stamps = sorted(text(row, "SystemModstamp") for row in contacts)
    tied = sum(first == second for first, second in pairwise(stamps))
    assert tied > 0.02 * len(stamps)


def test_converted_leads_name_the_contact_and_account_they_became(
    rows: dict[str, list[Row]],
) -> None:
    contacts = {row["_key"]: row for row in rows["Contact"]}
    for row in rows["Lead"]:
        assert (row["Status"] == "Closed - Converted") == row["IsConverted"]
        if not row["IsConverted"]:
            assert row["ConvertedDate"] is row["ConvertedContactId"] is None
            assert row["ConvertedAccountId"] is None
            continue
        contact = contacts[row["ConvertedContactId"]]
        assert not contact["IsDeleted"]
        assert row["ConvertedAccountId"] == contact["AccountId"]
        assert text(row, "CreatedDate")[:10] <= text(row, "ConvertedDate")


def consume(stream: Iterable[object]) -> None:
    deque(stream, maxlen=0)


def share(rows: list[Row], is_so: Callable[[Row], object]) -> float:
    return sum(1 for row in rows if is_so(row)) / len(rows)


def email_is(pattern: str) -> Callable[[Row], object]:
    return lambda row: re.search(pattern, text(row, "Email"))


def street(row: Row) -> str:
    return text(row, "MailingStreet", "Street")


def name(row: Row) -> str:
    return text(row, "FirstName") + text(row, "LastName")


def is_malformed(address: str) -> bool:
    well_formed = re.fullmatch(r"\s*(mailto:)?[^@\s,]+@[^@\s,]+\.[A-Za-z]+\s*", address)
    return bool(address) and address not in PLACEHOLDER_EMAILS and not well_formed


def has_letters_outside_latin(row: Row) -> bool:
    letters = (letter for letter in name(row) if letter.isalpha())
    return any(not unicodedata.name(letter).startswith("LATIN") for letter in letters)


def misses_area(row: Row) -> bool:
    phone = text(row, "Phone")
    return phone not in PLACEHOLDER_PHONES and 3 < len(re.sub(r"\D", "", phone)) < 9


# What, and its documented share in per cent of contacts and of leads.
DIRT: list[tuple[str, Callable[[Row], object], float]] = [
    ("deleted", lambda row: row["IsDeleted"], 1.0),
    ("capitals", lambda row: text(row, "LastName").isupper(), 5.0),
    ("lower case", lambda row: text(row, "LastName").islower(), 1.8),
    ("not Latin", has_letters_outside_latin, 8.5),
    ("NFD", lambda row: unicodedata.normalize("NFC", name(row)) != name(row), 1.4),
    ("apostrophe", lambda row: re.search("['’]", text(row, "LastName")), 3.7),
    ("typographic apostrophe", lambda row: "’" in text(row, "LastName"), 0.6),
    ("hyphen", lambda row: "-" in text(row, "LastName"), 2.4),
    ("no first name", lambda row: row["FirstName"] is None, 1.8),
    ("prefix", lambda row: re.match(r"(Dr|Prof|Mrs?|Ing)\b", text(row, "FirstName")), 0.9),
    (
        "suffix",
        lambda row: re.search(r"(Jr\.?|PhD|III|Sr\.|MBA|CPA|\(retired\))$", text(row, "LastName")),
        2.9,
    ),
    ("email blank", lambda row: row["Email"] is None, 17.0),
    ("email placeholder", lambda row: row["Email"] in PLACEHOLDER_EMAILS, 5.1),
    ("email malformed", lambda row: is_malformed(text(row, "Email")), 6.2),
    ("email (at)", email_is(r"\(at\)"), 1.0),
    ("email @@", email_is("@@"), 1.0),
    ("email trailing dot", email_is(r"\.$"), 1.0),
    ("email of a shared mailbox", email_is("^(info|office|sales|contact|hello)@"), 3.2),
    ("email mixed case", lambda row: text(row, "Email") != text(row, "Email").lower(), 8.7),
    ("email padded", lambda row: text(row, "Email") != text(row, "Email").strip(), 4.8),
    ("email mailto:", email_is("^mailto:"), 1.4),
    ("no phone", lambda row: row["Phone"] is None and row["MobilePhone"] is None, 34.0),
    ("phone placeholder", lambda row: row["Phone"] in PLACEHOLDER_PHONES, 5.1),
    ("phone without area", misses_area, 4.0),
    ("phone with extension", lambda row: re.search(r"x[t. ]*\d+$", text(row, "Phone")), 12.3),
    ("phone (0)", lambda row: "(0)" in text(row, "Phone"), 0.8),
    ("phone 00", lambda row: text(row, "Phone").startswith("00"), 2.9),
    ("phone with dots", lambda row: re.search(r"\d\.\d", text(row, "Phone")), 2.8),
    ("title blank", lambda row: row["Title"] is None, 50.0),
    ("title NA", lambda row: row["Title"] in MISSING, 1.0),
    ("title quoted", lambda row: '"' in text(row, "Title"), 2.0),
    ("linkedin blank", lambda row: row["LinkedIn_URL__c"] is None, 60.0),
    ("linkedin /pub/", lambda row: "/pub/" in text(row, "LinkedIn_URL__c"), 1.3),
    (
        "linkedin of nobody",
        lambda row: (
            row["LinkedIn_URL__c"]
            and not re.search("/(in|pub)/", text(row, "LinkedIn_URL__c"), re.IGNORECASE)
        ),
        1.8,
    ),
    ("linkedin capitals", lambda row: text(row, "LinkedIn_URL__c").isupper(), 2.5),
    (
        "linkedin query",
        lambda row: "/in/" in text(row, "LinkedIn_URL__c") and "?" in text(row, "LinkedIn_URL__c"),
        4.9,
    ),
    ("linkedin country", lambda row: re.search(r"//(uk|de)\.", text(row, "LinkedIn_URL__c")), 4.9),
    ("linkedin mobile", lambda row: "//m." in text(row, "LinkedIn_URL__c"), 2.5),
    ("band blank", lambda row: row["Employee_Band__c"] is None, 80.0),
    ("description NA", lambda row: row["Description"] in MISSING, 2.5),
    ("description lines", lambda row: "\n" in text(row, "Description"), 3.1),
    ("description CRLF", lambda row: "\r\n" in text(row, "Description"), 0.75),
    ("street lines", lambda row: "\n" in street(row), 4.4),
    ("street CRLF", lambda row: "\r\n" in street(row), 2.2),
    ("street NA", lambda row: street(row) in MISSING, 0.24),
]


@pytest.mark.parametrize(
    ("is_so", "documented"), [dirt[1:] for dirt in DIRT], ids=[d[0] for d in DIRT]
)
def test_dirt_has_its_documented_share(
    rows: dict[str, list[Row]], is_so: Callable[[Row], object], documented: float
) -> None:
    both = rows["Contact"] + rows["Lead"]
    deviation = (documented / 100 * (1 - documented / 100) / len(both)) ** 0.5
    assert abs(share(both, is_so) - documented / 100) < 5 * deviation + 0.1 * documented / 100


def test_dirt_of_one_object(rows: dict[str, list[Row]]) -> None:
    contacts, leads = rows["Contact"], rows["Lead"]
    assert 0.07 < share(leads, lambda row: row["IsConverted"]) < 0.09
    assert 0.02 < share(contacts, lambda row: row["AccountId"] is None) < 0.04
    missing = ("[not provided]", "NA", "-", "n/a", "Self-employed")
    assert 0.02 < share(leads, lambda row: row["Company"] in missing) < 0.04
    assert share(leads, lambda row: '"' in text(row, "Company")) > 0.01
    assert {row["Employee_Band__c"] for row in contacts} == {None, *EMPLOYEE_BANDS}
    inactive = share(contacts, lambda row: row["OwnerId"] == USERS)
    assert 0.03 < inactive < 0.07


def test_second_rows_differ_in_spelling_and_often_share_the_address(
    rows: dict[str, list[Row]],
) -> None:
    population = Population(CONTACTS, LEADS, SEED)
    of_person: dict[int, list[Row]] = defaultdict(list)
    for row in rows["Contact"]:
        of_person[population.contact(int(str(row["_key"]))).person].append(row)
    several = [found for found in of_person.values() if len(found) > 1]
    assert 0.03 < sum(len(found) - 1 for found in several) / CONTACTS < 0.05
    differing = sum(name(found[0]) != name(found[1]) for found in several)
    assert differing > 0.6 * len(several)
    addresses = Counter(
        text(row, "Email").strip().lower() for row in rows["Contact"] if "@" in text(row, "Email")
    )
    shared = sum(
        1 for address, count in addresses.items() if count > 1 and address.endswith(".example")
    )
    assert shared > 0.01 * CONTACTS


def test_one_legal_form_has_several_spellings(rows: dict[str, list[Row]]) -> None:
    companies = {text(row, "Company") for row in rows["Lead"]}
    for ending in (
        " Inc.",
        ", Inc.",
        " Inc",
        " Incorporated",
        " LLC",
        " GmbH",
        " G.m.b.H.",
        " S.A.S.",
        " SAS",
        " Ltd.",
        " Limited",
        " & Co.",
        " and Co.",
        " GmbH & Co. KG",
    ):
        assert sum(company.endswith(ending) for company in companies) >= 5, ending


def test_numbers_come_in_many_formats(rows: dict[str, list[Row]]) -> None:
    shapes = Counter(
        re.sub(r"\d", "9", text(row, "Phone"))
        for row in rows["Contact"]
        if re.search(r"\d{3}", text(row, "Phone"))
    )
    assert sum(1 for count in shapes.values() if count >= 50) >= 15
    assert any(
        re.fullmatch(r"\+44 \(0\)20 7946 0\d{3}", text(row, "Phone")) for row in rows["Contact"]
    )


def test_nobody_real_can_be_reached(rows: dict[str, list[Row]]) -> None:
    fiction = re.compile(
        r"55501\d\d$|79460\d{3}$|4960\d{3}$|4980\d{3}$|96496\d{3}$|20180\d{3}$|19900\d{4}$|26191\d{4}$|35301\d{4}$"
        r"|46571\d{4}$|53649\d{4}$|3023125\d{3}$|6990009\d{3}$|4066969\d{3}$|2214710\d{3}$"
        r"|8999998\d{3}$|5550\d{4}$|7010\d{4}$"
    )
    reserved = re.compile(r"(\.example|example\.(com|net|org))\W*$", re.IGNORECASE)
    checked = 0
    for row in rows["Contact"] + rows["Lead"]:
        for field in ("Phone", "MobilePhone"):
            number = re.sub(r"\D", "", re.sub(r"(ext\.|x) *\d+$", "", text(row, field)))
            if len(number) > 9 and text(row, field) not in PLACEHOLDER_PHONES:
                assert fiction.search(number), text(row, field)
                checked += 1
        for field in ("Email", "Personal_Email__c"):
            address = text(row, field)
            if address and address not in PLACEHOLDER_EMAILS and not is_malformed(address):
                assert reserved.search(address)
                checked += 1
        profile = text(row, "LinkedIn_URL__c").lower()
        assert not re.search("/(in|pub)/", profile) or re.search("/(in|pub)/gen-", profile)
    assert checked > CONTACTS


def test_memory_does_not_grow_with_the_rows() -> None:
    stream = records(60_000, 0, 1)
    rows_until_caches_are_full, many_more = 30_000, 30_000
    consume(islice(stream, rows_until_caches_are_full))
    before = sys.getallocatedblocks()
    consume(islice(stream, many_more))
    assert sys.getallocatedblocks() - before < many_more / 20


@pytest.mark.parametrize(("contacts", "leads"), [(0, 0), (0, 5), (1, 0), (1, 1), (7, 3)])
def test_small_numbers(contacts: int, leads: int) -> None:
    count = Counter(sobject for sobject, _ in records(contacts, leads, 3))
    assert (count["Contact"], count["Lead"], count["Campaign"]) == (contacts, leads, 3)
    assert count["Account"] >= 1


@pytest.mark.parametrize(("contacts", "leads", "named"), [(-1, 0, "contacts"), (0, -2, "leads")])
def test_negative_numbers_are_refused_at_once(contacts: int, leads: int, named: str) -> None:
    with pytest.raises(PipelineError, match=f"{named}: -"):
        records(contacts, leads, 1)

"""Whatever is asked, the org answers it or refuses it in Salesforce's shape."""

from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from salesforce_pipelines_tests.local_org.conftest import Api

WORDS = [
    *("SELECT", "FROM", "WHERE", "AND", "OR", "NOT", "IN", "LIKE", "ORDER BY", "GROUP BY"),
    *("HAVING", "LIMIT", "OFFSET", "NULLS FIRST", "DESC", "USING SCOPE", "mine", "FOR VIEW"),
    *("WITH", "SECURITY_ENFORCED", "ALL ROWS", "TYPEOF", "WHEN", "THEN", "ELSE", "END"),
    *("INCLUDES", "EXCLUDES", "ROLLUP", "CUBE", "GROUPING", "COUNT", "MIN", "AVG", "toLabel"),
    *("FORMAT", "FIELDS", "ALL", "CUSTOM", "DISTANCE", "GEOLOCATION", "CALENDAR_YEAR", "DAY_ONLY"),
    *("convertTimezone", "Contact", "Contacts", "Lead", "Account", "CampaignMember", "Id", "Name"),
    *("LastName", "Account.Name", "Owner", "Owner.Type", "Owner.Name", "OwnerId", "AccountId"),
    *("Birthdate", "CreatedDate", "HasOptedOutOfEmail", "MailingAddress", "Description"),
    *(
        "Referral_Count__c",
        "LeadSource",
        "c",
        "User",
        "Group",
        "=",
        "!=",
        "<",
        ">=",
        "<>",
        "(",
        ")",
    ),
    *(",", "'a'", "'%'", "'\\", "'", "''", "1", "-2.5", "1e9", "99999999999999999999", "null"),
    *("true", "TODAY", "LAST_N_DAYS:3", "LAST_N_YEARS:9999", "2024-02-30", "2024-01-01"),
    *("2024-01-01T00:00:00Z", "9999-12-31T23:59:59-12:00", "10:00:00.000Z", ":x", "--", "/*", "*"),
    *("\n", "\x00", "é", "😀", "'003000000000001'", "'nonsense'", "km", "'mi'", ";", '"'),
]
VALID = [
    "SELECT Id, Account.Name, (SELECT Id FROM CampaignMembers) FROM Contact WHERE LastName = 'a'",
    "SELECT LeadSource, COUNT(Id) n FROM Lead GROUP BY LeadSource HAVING COUNT(Id) > 1 LIMIT 3",
    "SELECT Id FROM Contact WHERE AccountId IN (SELECT Id FROM Account WHERE Name LIKE 'x%')",
    "SELECT Id FROM Lead WHERE CreatedDate = LAST_N_DAYS:7 ORDER BY Name DESC NULLS LAST OFFSET 2",
    "SELECT TYPEOF Owner WHEN User THEN Email ELSE Name END FROM Lead WHERE NOT (Name = null)",
    "SELECT FIELDS(ALL) FROM Contact WHERE (Birthdate < TODAY OR Email != 'x') LIMIT 5",
    "SELECT CALENDAR_YEAR(CreatedDate), MAX(Name) FROM Lead GROUP BY CALENDAR_YEAR(CreatedDate)",
    "SELECT Id FROM Contact WHERE DISTANCE(MailingAddress, GEOLOCATION(37.7,-122.4), 'mi') < 20",
    "SELECT MIN(FirstName), GROUPING(LeadSource) FROM Contact GROUP BY ROLLUP(LeadSource, Title)",
    "SELECT toLabel(LeadSource), FORMAT(CreatedDate) d FROM Contact USING SCOPE mine FOR VIEW",
]

soups = st.lists(st.sampled_from(WORDS), max_size=25).map(" ".join)


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A valid query with a few of its words replaced, removed, doubled or exchanged."""
    words = draw(st.sampled_from(VALID)).split(" ")
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(words) - 1))
        other = draw(st.sampled_from(WORDS) | st.sampled_from(words))
        how = draw(st.integers(0, 3))
        words[at : at + 1] = [[other], [], [words[at], other], [words[at], words[at]]][how]
        if not words:
            break
    return " ".join(words)


@st.composite
def cut(draw: st.DrawFn) -> str:
    """A valid query with characters lost or added somewhere."""
    text = draw(st.sampled_from(VALID))
    start = draw(st.integers(0, len(text)))
    end = min(len(text), start + draw(st.integers(0, 4)))
    return text[:start] + draw(st.text(max_size=3)) + text[end:]


def deep(depth: int, inner: str) -> str:
    return f"SELECT Id FROM Lead WHERE {'NOT (' * depth}{inner}{')' * depth}"


@pytest.mark.slow
@settings(
    max_examples=700,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(soups | mutated() | mutated() | cut())
@example("SELECT COUNT() FROM Contact WHERE COUNT(Id) > 1")
@example("SELECT Id FROM Contact ORDER BY COUNT(Id)")
@example("SELECT Id FROM CampaignMember USING SCOPE mine")
@example("SELECT Id FROM Lead LIMIT 99999999999999999999")
@example("SELECT Id FROM Lead WHERE CreatedDate > LAST_N_DAYS:99999999999")
@example(deep(90, "Name = 'x'"))
@example(deep(1500, "Name = 'x'"))
@example("SELECT Id FROM Lead WHERE " + "(" * 2000 + "Name = 'x'" + ")" * 2000)
@example("SELECT Id FROM Lead WHERE " + " OR ".join(["Name = 'x'"] * 700))
@example("SELECT " + ", ".join(f"COUNT(Id) c{n}" for n in range(700)) + " FROM Lead")
@example("SELECT Id FROM Lead WHERE Name LIKE '" + "_%" * 3000 + "'")
@example("SELECT Id FROM Lead WHERE Name IN (" + ", ".join("'x'" for _ in range(700)) + ")")
def test_every_query_is_answered_or_refused(api: Api, soql: str) -> None:
    for params in ({"q": soql}, {"q": soql, "columns": "true"}):
        answer = api.call("GET", "query", params=params)
        if answer.status_code == 200:
            continue
        assert answer.status_code == 400, answer.text[:300]
        errors: list[dict[str, Any]] = answer.json()
        assert [sorted(error) for error in errors] == [["errorCode", "message"]]
        assert errors[0]["errorCode"] != "UNKNOWN_EXCEPTION", soql[:300]

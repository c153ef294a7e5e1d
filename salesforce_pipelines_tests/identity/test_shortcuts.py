import phonenumbers
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from salesforce_pipelines.identity import shortcuts, vocabulary
from salesforce_pipelines.identity.identifiers import (
    normalise_email,
    normalise_linkedin_url,
    normalise_phone,
)

WORDS = sorted(
    vocabulary.NO_ADDRESS | vocabulary.NO_DOMAIN | vocabulary.ROLES | vocabulary.NO_PROFILE
)


def told(answers: pa.Array) -> list[str | None]:
    found: list[str | None] = answers.to_pylist()
    return found


EMAILS = st.builds(
    "{}{}@{}{}".format,
    st.one_of(st.sampled_from(WORDS), st.from_regex(r"\A[A-Za-z0-9._+-]{1,12}\Z")),
    st.sampled_from(["", "1", "42", ".x", "+a", "-", "_1_2"]),
    st.one_of(st.sampled_from(WORDS), st.from_regex(r"\A[A-Za-z0-9.-]{1,10}\Z")),
    st.sampled_from([".com", ".example", ".co.uk", ".invalid", ".c", "", ".com.", ".xn--p1ai"]),
)


@settings(max_examples=500)
@given(st.one_of(EMAILS, st.emails(), st.text(max_size=20)), st.sampled_from(["", " ", "\t"]))
@example("n.a.1.2@example.com", "")
@example("test+1@example.com", "")
@example("ada@no-email.example", "")
def test_an_answered_email_is_what_the_rule_says(text, padding):
    [answer] = told(shortcuts.emails(pa.array([padding + text + padding])))
    assert answer is None or answer == normalise_email(padding + text + padding)


NORTH_AMERICAN = st.builds(
    "{}{}{}{}{}{}".format,
    st.sampled_from(["", "1", "+1", "+1 ", "1-", "+", "(", "+1 ("]),
    st.one_of(st.from_regex(r"\A[0-9]{3}\Z"), st.sampled_from(["212", "555", "999", "987"])),
    st.sampled_from(["", "-", ") ", ".", " - ", "/", ")"]),
    st.one_of(st.from_regex(r"\A[0-9]{3}\Z"), st.sampled_from(["555", "999", "654"])),
    st.sampled_from(["", "-", ".", " "]),
    st.one_of(
        st.from_regex(r"\A[0-9]{4}\Z"), st.sampled_from(["5555", "9999", "3210", "1212", "0123"])
    ),
)


@settings(max_examples=500)
@given(
    NORTH_AMERICAN,
    st.sampled_from([*sorted(phonenumbers.region_codes_for_country_code(1)), "GB", "DE", "AU"]),
)
@example("212-555-1212", "US")
@example("987-654-3210", "US")
@example("222-222-2222", "US")
def test_an_answered_telephone_is_what_the_rule_says(text, region):
    [answer] = told(shortcuts.phones(pa.array([text]), region))
    assert answer is None or answer == normalise_phone(text, region)


PROFILES = st.builds(
    "{}{}linkedin.com/{}{}{}".format,
    st.sampled_from(["", "https://", "HTTP://", "//", "ftp://"]),
    st.sampled_from(["", "www.", "uk.", "a.b.", "x"]),
    st.sampled_from(["in/", "IN/", "pub/", "company/", "in//"]),
    st.one_of(
        st.from_regex(r"\A[A-Za-z0-9%_-]{1,12}\Z"),
        st.sampled_from(["me", "ACoAABcDeFgHiJkLmNoPqRsTuVwXyZ", "a" * 101, *WORDS]),
    ),
    st.sampled_from(["", "/", "?x", "/de"]),
)


@settings(max_examples=500)
@given(PROFILES)
def test_an_answered_profile_is_what_the_rule_says(text):
    [answer] = told(shortcuts.linkedin_urls(pa.array([text])))
    assert answer is None or answer == normalise_linkedin_url(text)


@pytest.mark.parametrize("text", ["ada@example.com", "Ada.King@mail.example.org", "a_b+c-1@x1.co"])
def test_usual_addresses_are_answered(text):
    assert told(shortcuts.emails(pa.array([text]))) == [text.lower()]


def test_usual_telephones_are_answered():
    texts = ["212-555-0123", "(212) 555-0123", "+1 212.555.0123", "12125550123", "2125550123"]
    assert set(told(shortcuts.phones(pa.array(texts), "US"))) == {"+12125550123"}
    assert told(shortcuts.phones(pa.array(texts[:1]), "GB")) == [None]


def test_usual_profiles_are_answered():
    texts = ["https://www.linkedin.com/in/Ada-King/", "linkedin.com/in/ada-king"]
    assert set(told(shortcuts.linkedin_urls(pa.array(texts)))) == {"in/ada-king"}


def test_nothing_stays_nothing():
    nothing = pa.array([None], pa.string())
    assert told(shortcuts.emails(nothing)) == [None]
    assert told(shortcuts.phones(nothing, "US")) == [None]
    assert told(shortcuts.linkedin_urls(nothing)) == [None]

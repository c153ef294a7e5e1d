"""Every problem of pipelines.yaml is told with file, line, key and cure."""

import json
from pathlib import Path

import pytest

from salesforce_pipelines.config.loading import ConfigurationError, json_schema, load

SHIPPED = Path(__file__).parents[2] / "pipelines.yaml"


def changed(tmp_path: Path, old: str, new: str) -> tuple[Path, int]:
    """The shipped configuration with one change, and the line where it stands."""
    text = SHIPPED.read_text(encoding="utf-8")
    assert text.count(old) >= 1
    path = tmp_path / "pipelines.yaml"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    return path, text[: text.index(old)].count("\n") + 1


def message(path: Path) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load(path)
    return str(caught.value)


def test_the_shipped_configuration_is_valid_and_relative_paths_start_at_its_folder() -> None:
    pipelines = load(SHIPPED)
    assert pipelines.storage.tables == str(SHIPPED.parent / ".home/tables")
    assert pipelines.storage.ledger == f"sqlite:///{SHIPPED.parent}/.home/ledger.db"
    assert pipelines.enrichment.provider.path == SHIPPED.parent / ".home/people.csv"


@pytest.mark.parametrize(
    ("old", "new", "told", "line"),
    [
        ("overlap:", "overlpa:", "pull.overlpa: unknown key; did you mean 'overlap'?", "overlpa"),
        ("overlap: 10m", "overlap: 10 minutes", "pull.overlap: write a duration", "overlap"),
        ("bulk_threshold: 10000", "bulk_threshold: 0", "Input should be greater", "bulk_thresh"),
        ("Title: job_title", "Title: {frm: job_title}", "did you mean 'from'?", "Title"),
        (
            "rule: overwrite}",
            "rule: replace}",
            "Employee_Band__c.rule: Input should be",
            "Employee",
        ),
        ("method: lead_field", "method: lead", "does not match any of the", "qualification"),
        ("members: Contact", "members: Kontact", "spring.members: Input should be", "members"),
        ("{code}", "code", "referrals.spring.link: ", "link"),
        ("time_zone: UTC", "time_zone: Mars/Olympus", "not an IANA time zone", "schedule"),
        ("2026-01-05T02:00", "2026-01-05T02:00+01:00", "start without an offset", "schedule"),
        ("http://127.0.0.1:8765 ", "127.0.0.1:8765 ", "connection.login_url: ", "login_url"),
        ("http://127.0.0.1:8765 ", "https://login.salesforce.com", "My Domain", "connection"),
        ("  Title: job_title", "  Ti-tle: job_title", "is not an API name of a field", "Ti-tle"),
    ],
)
def test_a_wrong_key_or_value_is_told_with_its_line(
    tmp_path: Path, old: str, new: str, told: str, line: str
) -> None:
    path, _ = changed(tmp_path, old, new)
    found = message(path)
    assert told in found
    number = int(found.split(":")[1])
    assert line in path.read_text(encoding="utf-8").splitlines()[number - 1]


def test_the_line_is_that_of_the_key(tmp_path: Path) -> None:
    path, line = changed(tmp_path, "  overlap: 10m", "  overlpa: 10m")
    assert message(path).startswith(f"{path}:{line}: ")


def test_a_rule_about_several_keys_points_at_the_one_to_look_at(tmp_path: Path) -> None:
    path, _ = changed(tmp_path, "  Account: {fields: [Industry, Website]}\n", "")
    found = message(path)
    assert "needs Account: add it to objects" in found
    line = int(found.split(":")[1])
    assert "name_company" in path.read_text(encoding="utf-8").splitlines()[line - 1]


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    path, line = changed(tmp_path, "  overlap: 10m", "  lag: 5s")
    assert message(path) == f"{path}:{line}: pull.lag: the key stands here twice"


def test_two_sources_for_one_field_are_refused(tmp_path: Path) -> None:
    path, _ = changed(tmp_path, "Twitter__c:", "Referral_Link__c:")
    assert "writes the same field; only one of them may" in message(path)


def test_a_password_in_a_wrong_url_is_not_repeated(tmp_path: Path) -> None:
    path, _ = changed(tmp_path, "sqlite:///.home/ledger.db", "postgres://user:S3cret@host/db")
    assert "storage.ledger" in message(path)
    assert "S3cret" not in message(path)


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    path, _ = changed(tmp_path, "  overlap: 10m\n  bulk_threshold: 10000", "  over: 1\n  bulk: 2")
    assert len(message(path).splitlines()) == 2


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "expected keys such as connection"),
        ("- a\n- b\n", "expected keys such as connection"),
        ("connection: [", "not valid YAML"),
    ],
)
def test_what_is_no_mapping_is_refused(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "pipelines.yaml"
    path.write_text(text, encoding="utf-8")
    assert told in message(path)


def test_a_missing_file_says_where_another_is_named(tmp_path: Path) -> None:
    assert "SALESFORCE_PIPELINES_CONFIG" in message(tmp_path / "none.yaml")


def test_fields_that_something_needs_are_pulled_without_being_listed() -> None:
    fields = load(SHIPPED).fields_of("Contact")
    needed = {"Id", "SystemModstamp", "AccountId", "Email", "Title", "Referral_Link__c"}
    assert needed <= set(fields)
    assert len(fields) == len(set(fields))
    assert {"Status", "Referred_By_Code__c", "IsConverted"} <= set(load(SHIPPED).fields_of("Lead"))


def test_the_json_schema_knows_every_key_of_the_shipped_file() -> None:
    schema = json_schema()
    assert "overlap" in schema["$defs"]["Pull"]["properties"]
    assert schema["additionalProperties"] is False
    json.dumps(schema)

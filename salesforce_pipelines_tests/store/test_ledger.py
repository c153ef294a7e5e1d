import threading
import traceback
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import BLANK_SCHEMA, MetaData, inspect, select, text
from sqlalchemy.exc import IntegrityError, StatementError

from salesforce_pipelines.errors import PipelineError
from salesforce_pipelines.store.ledger import Ledger
from salesforce_pipelines.store.schema import SCHEMA, metadata, referral_member
from salesforce_pipelines_tests.store.racing import race

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


def member(code: str, enrolled_at: datetime = NOON) -> dict[str, Any]:
    return {
        "program": "spring",
        "object": "Lead",
        "record_id": code,
        "code": code,
        "enrolled_at": enrolled_at,
    }


def add_member(ledger: Ledger, code: str, enrolled_at: datetime = NOON) -> None:
    with ledger.begin() as connection:
        connection.execute(referral_member.insert(), [member(code, enrolled_at)])


def codes(ledger: Ledger) -> list[str]:
    with ledger.read() as connection:
        return sorted(connection.execute(select(referral_member.c.code)).scalars())


def test_is_kept_between_openings(ledger_url: str) -> None:
    with Ledger.open(ledger_url) as ledger:
        add_member(ledger, "a")
    with Ledger.open(ledger_url) as ledger:
        assert codes(ledger) == ["a"]


def open_and_add(url: str, code: str) -> None:
    with Ledger.open(url) as ledger:
        add_member(ledger, code)


def test_several_processes_may_open_it_first(ledger_url: str) -> None:
    race(open_and_add, *((ledger_url, code) for code in "abc"))
    with Ledger.open(ledger_url) as ledger:
        assert codes(ledger) == ["a", "b", "c"]


def test_migrations_make_the_tables_that_the_code_knows(ledger: Ledger) -> None:
    with ledger.read() as connection:
        known, options = metadata, {"version_table_schema": SCHEMA, "include_schemas": True}
        if connection.dialect.name == "sqlite":
            known, options = MetaData(naming_convention=metadata.naming_convention), {}
            for table in metadata.sorted_tables:
                table.to_metadata(known, schema=None, referred_schema_fn=lambda *_: BLANK_SCHEMA)  # type: ignore[arg-type]
        options["compare_type"] = options["compare_server_default"] = True
        assert compare_metadata(MigrationContext.configure(connection, opts=options), known) == []


@pytest.mark.parametrize("ledger_url", ["postgresql"], indirect=True)
def test_keeps_to_its_own_schema(ledger: Ledger) -> None:
    with ledger.read() as connection:
        assert inspect(connection).get_table_names("public") == []
        assert "plan" in inspect(connection).get_table_names(SCHEMA)


def test_of_a_newer_release_is_refused(ledger_url: str) -> None:
    with Ledger.open(ledger_url) as ledger, ledger.begin() as connection:
        place = f"{SCHEMA}." if connection.dialect.name == "postgresql" else ""
        connection.execute(text(f"UPDATE {place}alembic_version SET version_num = '9999'"))
    with pytest.raises(PipelineError, match=r"written by a newer release \(its version is 9999\)"):
        Ledger.open(ledger_url)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ledger.db", "URL of the ledger is not usable"),
        ("mysql://u:hush@host/d", "URL of the ledger is not usable"),
        ("sqlite://", "names no file"),
        ("sqlite:///{folder}", "cannot be opened: unable to open database file"),
        ("sqlite:///{folder}/text.db", "cannot be opened: file is not a database"),
        ("sqlite:///{folder}/text.db/ledger.db", "folder of the ledger .* cannot be created"),
        ("postgresql://u:hush@127.0.0.1:1/d?password=hush", "postgresql://127.0.0.1:1/d cannot"),
        ("postgresql://u:hush@host:port/d", "URL of the ledger is not usable"),
    ],
)
def test_what_cannot_be_opened_is_said_without_secrets(
    tmp_path: Path, url: str, message: str
) -> None:
    (tmp_path / "text.db").write_text("no database " * 100, encoding="utf-8")
    with pytest.raises(PipelineError, match=message) as caught:
        Ledger.open(url.format(folder=tmp_path))
    assert "hush" not in "".join(traceback.format_exception(caught.value))


def test_failed_transaction_leaves_nothing(ledger: Ledger) -> None:
    with pytest.raises(IntegrityError), ledger.begin() as connection:
        connection.execute(referral_member.insert(), [member("a"), member("b"), member("a")])
    assert codes(ledger) == []


def test_readers_and_a_writer_do_not_wait_for_each_other(ledger: Ledger) -> None:
    add_member(ledger, "a")
    with ledger.read() as reading:
        query = select(referral_member.c.code)
        assert reading.execute(query).scalars().all() == ["a"]
        with ledger.begin() as writing:
            writing.execute(referral_member.update().values(code="b"))
            assert codes(ledger) == ["a"]
    assert codes(ledger) == ["b"]


def test_writers_wait_for_each_other(ledger: Ledger) -> None:
    """Reading first and writing then must not lose the other's write, nor fail."""
    add_member(ledger, "0")
    table = referral_member
    query = select(table.c.code).with_for_update()

    def count_up() -> None:
        for _ in range(20):
            with ledger.begin() as connection:
                value = int(connection.execute(query).scalar_one())
                connection.execute(table.update().values(code=str(value + 1)))

    threads = [threading.Thread(target=count_up) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes(ledger) == ["80"]


def test_times_come_back_in_utc(ledger_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGTZ", "Asia/Tokyo")  # the time zone of PostgreSQL's sessions
    with Ledger.open(ledger_url) as ledger:
        add_member(ledger, "a", NOON.astimezone(timezone(timedelta(hours=5, minutes=30))))
        with ledger.read() as connection:
            stored = connection.execute(select(referral_member.c.enrolled_at)).scalar_one()
        assert (stored, stored.tzinfo) == (NOON, UTC)
        with pytest.raises(StatementError, match="time without a time zone"):
            add_member(ledger, "b", NOON.replace(tzinfo=None))

"""The org's Users as those who log in."""

from dataclasses import dataclass

from salesforce_pipelines.local_org.storage.store import Store

_COLUMNS = "Id, Username, FirstName, LastName, IsActive"


@dataclass(frozen=True, slots=True)
class Person:
    """A User who may log in while active."""

    id: str
    username: str
    name: str
    active: bool

    @property
    def initials(self) -> str:
        """Up to two letters that stand for the name."""
        words = self.name.split()
        return "".join(word[0] for word in (words[:1] + words[1:][-1:])).upper()


def active_people(store: Store, most: int) -> list[Person]:
    """The active Users by name, up to a number of them."""
    rows = store.reader().execute(
        f"SELECT {_COLUMNS} FROM User WHERE IsActive ORDER BY FirstName, LastName, _n LIMIT ?",
        [most],
    )
    return [_person(row) for row in rows]


def person_named(store: Store, username: str) -> Person | None:
    """The User of a username, an active one if there is; letter case does not matter."""
    row = (
        store.reader()
        .execute(
            f"SELECT {_COLUMNS} FROM User WHERE Username = ? ORDER BY IsActive DESC, _n LIMIT 1",
            [username],
        )
        .fetchone()
    )
    return _person(row) if row else None


def person_with_id(store: Store, user_id: str) -> Person | None:
    """The User of an 18-character id."""
    row = store.reader().execute(f"SELECT {_COLUMNS} FROM User WHERE Id = ?", [user_id]).fetchone()
    return _person(row) if row else None


def is_active(store: Store, user_id: str) -> bool:
    """Whether a User is there and active."""
    found = store.reader().execute("SELECT IsActive FROM User WHERE Id = ?", [user_id]).fetchone()
    return bool(found and found[0])


def _person(row: tuple[str, str, str | None, str | None, int]) -> Person:
    return Person(row[0], row[1], " ".join(filter(None, row[2:4])), bool(row[4]))

"""Edits in the org, as people would make them."""

from benchmarks.org import configured


def change(number: int) -> None:
    """Edit so many Contacts, the same ones at every call."""
    _, org = configured()
    soql = f"SELECT Id FROM Contact ORDER BY Id LIMIT {number}"
    page = org.get("query", {"q": soql})
    ids = [record["Id"] for record in page["records"]]
    while not page["done"]:
        page = org.request("GET", page["nextRecordsUrl"]).json()
        ids += [record["Id"] for record in page["records"]]
    for start in range(0, number, 200):
        records = [
            {"attributes": {"type": "Contact"}, "id": one, "Department": "Edited"}
            for one in ids[start : start + 200]
        ]
        org.request(
            "PATCH",
            f"{org.base_path}/composite/sobjects",
            json={"allOrNone": False, "records": records},
        )
    org.close()

"""Where a query may test ids against the results of another query, as Salesforce restricts it.

See "Semi-Joins with IN and Anti-Joins with NOT IN" in the SOQL and SOSL Reference.
"""

from salesforce_pipelines.local_org.soql import syntax as soql

_MOST = 2


def check_semi_joins(text: str, where: soql.Condition, is_nested: bool) -> None:
    """Refuse semi-joins that Salesforce refuses for their number or their place.

    Args:
        text: The query, for error messages.
        where: The condition of one query.
        is_nested: It is a query within another one.

    Raises:
        ApiError: MALFORMED_QUERY.
    """
    joins = _joins(where)
    if not joins:
        return
    if is_nested:
        _refuse(text, joins[0], "Nesting of semi join sub-selects is not supported")
    if len(joins) > _MOST:
        _refuse(text, joins[_MOST], f"Maximum {_MOST} semi join sub-selects are allowed")
    parts = where.conditions if isinstance(where, soql.And | soql.Or) else (where,)
    for join in joins:
        if isinstance(where, soql.Or) and any(part is join for part in parts):
            _refuse(text, join, "Semi join sub-selects are not allowed with the 'OR' operator")
        if isinstance(where, soql.Not) or any(_negates(part, join) for part in parts):
            # [?] The reference forbids it without quoting the refusal.
            _refuse(text, join, "Semi join sub-selects are not allowed with the 'NOT' operator")
        if not any(part is join for part in parts):
            message = (
                "Semi join sub-selects are only allowed at the top level WHERE expressions and "
                "not in nested WHERE expressions."
            )
            _refuse(text, join, message)


def _joins(condition: soql.Condition) -> list[soql.Membership]:
    if isinstance(condition, soql.Membership):
        return [condition] if isinstance(condition.values, soql.Query) else []
    if isinstance(condition, soql.And | soql.Or):
        return [join for part in condition.conditions for join in _joins(part)]
    return _joins(condition.condition) if isinstance(condition, soql.Not) else []


def _negates(condition: soql.Condition, join: soql.Membership) -> bool:
    return isinstance(condition, soql.Not) and condition.condition is join


def _refuse(text: str, join: soql.Membership, message: str) -> None:
    raise soql.positioned("MALFORMED_QUERY", text, join.operand.place, message)

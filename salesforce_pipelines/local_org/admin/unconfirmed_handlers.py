"""The admin interface's switches for what no public source settles about Salesforce."""

from typing import Any

from salesforce_pipelines.local_org.admin import unconfirmed
from salesforce_pipelines.local_org.admin.admin_calls import AdminCall


def read_switches(call: AdminCall) -> dict[str, Any]:
    """Every switch: what it is about, its choices, and what is chosen."""
    chosen = unconfirmed.choices(call.org.state)
    return {
        "switches": {
            name: {
                "about": switch.about,
                "choices": switch.choices,
                "default": switch.default,
                "chosen": chosen[name],
                "source": switch.source,
            }
            for name, switch in unconfirmed.SWITCHES.items()
        },
        "elsewhere": unconfirmed.ELSEWHERE,
        "guesses": unconfirmed.GUESSES,
    }


def change_switches(call: AdminCall) -> dict[str, str]:
    """Choose for some switches; what is chosen for all of them then."""
    call.check_keys(*unconfirmed.SWITCHES)
    unconfirmed.choose(call.org.state, call.body)
    return unconfirmed.choices(call.org.state)


def reset_switches(call: AdminCall) -> dict[str, str]:
    """Let every switch be as in a new org."""
    call.check_keys()
    unconfirmed.reset(call.org.state)
    return unconfirmed.choices(call.org.state)

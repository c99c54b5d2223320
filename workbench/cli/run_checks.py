"""What the checks of a run come to, for people on a command line."""

from typing import Any


def tell_checks(checks: list[dict[str, Any]]) -> list[str]:
    """What is wrong, a line each; how many were carried out and found nothing."""
    found = [each for each in checks if each["status"] == "wrong"]
    carried_out = sum(each["status"] != "unchecked" for each in checks)
    summary = f"{carried_out} checks, {'nothing found' if not found else f'{len(found)} found something'}."
    return [summary, *(f"  ✗ {each['sentence']}" for each in found)]

"""Schedules as Kubernetes reads them: five fields, minute first.

Kubernetes' own reader decides in the end, but far away and late; a slip is found here first. Two
habits of other crons are refused as they are there: Sunday is 0 and never 7, and there is no sixth
field for seconds.
"""

from __future__ import annotations

import re

__all__ = ["check_cron"]

_MONTHS = "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC".split()
_DAYS = "SUN MON TUE WED THU FRI SAT".split()
_CRON_FIELDS: tuple[tuple[str, int, int, list[str]], ...] = (
    ("minute", 0, 59, []),
    ("hour", 0, 23, []),
    ("day of month", 1, 31, []),
    ("month", 1, 12, _MONTHS),
    ("day of week", 0, 6, _DAYS),
)


def check_cron(expression: str) -> None:
    """Refuse a schedule that Kubernetes would not understand.

    Args:
        expression: Minute, hour, day of month, month, day of week; each ``*``, a number, a range
            ``a-b``, a step ``/n`` on either, or a comma-separated list. Months and days may be
            given by their first three letters. Sunday is 0.

    Raises:
        ValueError: Naming the field that is wrong and what it may hold.
    """
    fields = expression.split()
    if len(fields) != len(_CRON_FIELDS):
        raise ValueError(
            f"a schedule has five fields (minute, hour, day of month, month, day of week); "
            f'{expression!r} has {len(fields)}. Every night at three is "0 3 * * *".'
        )
    for text, (name, low, high, words) in zip(fields, _CRON_FIELDS, strict=True):
        if not all(_is_cron_part(part, low, high, words) for part in text.split(",")):
            raise ValueError(
                f"the {name} of schedule {expression!r} must be *, {low} to {high}, a range a-b, "
                f"a step such as */2, or a list of these; got {text!r}."
            )


def _is_cron_part(part: str, low: int, high: int, words: list[str]) -> bool:
    match = re.fullmatch(r"(\*|\w+(?:-\w+)?)(?:/(\d+))?", part)
    if match is None or (match[2] is not None and int(match[2]) < 1):
        return False
    if match[1] == "*":
        return True
    ends = [
        words.index(end.upper()) + low
        if end.upper() in words
        else int(end)
        if re.fullmatch(r"[0-9]{1,2}", end)
        else -1
        for end in match[1].split("-")
    ]
    return all(low <= end <= high for end in ends) and ends == sorted(ends)

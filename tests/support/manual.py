# SPDX-License-Identifier: BSD-2-Clause
"""The section JSON of smaccel(1) against what programs really get."""
import re
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent.parent / "helper/man/smaccel.1"
NAMED_BY_OTHERS = ("refusals", "unassigned", "reasons", "values", "buckets")  # reasons and metrics are their keys


def described():
    section = re.search(r"^\.SH JSON\n(.*?)^\.SH ", PAGE.read_text(), re.MULTILINE | re.DOTALL).group(1)
    return set(re.findall(r"[A-Za-z0-9_.]*[A-Za-z0-9_]", section.replace("\\-", "-")))


def keys(answer):
    if isinstance(answer, list):
        return set().union(*map(keys, answer))
    if not isinstance(answer, dict):
        return set()
    return set(answer).union(*(keys(value) for key, value in answer.items() if key not in NAMED_BY_OTHERS))


def undocumented(answer):
    return keys(answer) - described()

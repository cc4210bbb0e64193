# SPDX-License-Identifier: GPL-2.0
"""Reads TAP as the kernel's kselftest programs write it, and counts it."""

import os
import re

import lab

SKIP_LIST = os.path.join(lab.TREE, "selftests", "skip.list")

RESULT = re.compile(r"^(not )?ok\b\s*(\d*)\s*(.*)$")
PLAN = re.compile(r"^1\.\.(\d+)(.*)$")
RUN = re.compile(r"^#\s+RUN\s+(\S+)")
SKIP = re.compile(r"#\s*SKIP\b\s*(.*)", re.I)


def allowed_skips(lab_name):
    """skip.list: pairs (program, test) for this lab; "*" is the whole program."""
    # The kernel makes no difference to what an emulator gets wrong.
    stock = "svm" if lab_name == "debug" else lab_name.removeprefix("debug-")
    allowed = set()
    with open(SKIP_LIST) as f:
        for line in f:
            if not line.strip() or line.startswith("#"):
                continue
            words = line.split(None, 3)
            if len(words) < 4:
                raise lab.LabError(f"skip.list: no reason given: {line.strip()}")
            if words[0] in ("*", lab_name, stock):
                allowed.add((words[1], words[2]))
    return allowed


def judge(program, output, status, plain=False, lab_name="svm"):
    """Returns (names of tests that passed, why others failed).

    A plain program prints no TAP and is one test: its exit status. A skipped
    test fails unless skip.list has it, and so does one that passes though the
    list has it.
    """
    if plain:
        return ([program], []) if status == 0 else ([], [f"exit status {status}"])

    passed, failed, allowed = [], [], allowed_skips(lab_name)
    planned, seen, excused, name = None, 0, 0, ""

    def skipped(test, reason):
        if (program, test) in allowed:
            passed.append(f"{test} (skipped)")
        else:
            failed.append(f"{test}: skipped, not in skip.list: {reason}")

    for line in output.splitlines():
        if m := RUN.match(line):
            name = m[1]
        elif m := PLAN.match(line):
            planned = int(m[1])
            if planned == 0:
                skip = SKIP.search(m[2])
                skipped("*", skip[1] if skip else "plans no test")
        elif line.startswith("Bail out!"):
            failed.append(line)
        elif m := RESULT.match(line):
            seen += 1
            skip = SKIP.search(m[3])
            # The harness names a skipped test in its RUN line only.
            title = m[3].split("#")[0].strip(" -") or name or m[2]
            if skip:
                skipped(title, skip[1])
            elif (program, title) in allowed:
                excused += 1
                (passed if m[1] else failed).append(f"{title} (in skip.list)")
            else:
                (failed if m[1] else passed).append(title)

    if planned is not None and seen != planned:
        failed.append(f"planned {planned} tests, saw {seen}")
    if planned is None:
        failed.append("no plan (1..N)")
    if status != 0 and not failed and not excused:
        failed.append(f"exit status {status}, with no test failed")
    return passed, failed

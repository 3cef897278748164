#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Dependencies point one way: what the files of each part may include. The first rule whose pattern fits a file decides."""
import fnmatch
import os
import re

from common import files, finish, text_of

# Own headers a part may include (patterns of paths in the project), and the kinds of system headers it may not.
LIBBPF = ("bpf/*", "linux/bpf.h", "*.skel.h")
INPUT_OUTPUT = ("sys/epoll.h", "sys/mman.h", "fcntl.h", "stdio.h", "unistd.h", "sys/stat.h", "sys/un.h", "netinet/*")
RULES = [
    # files                          own headers allowed                               system headers refused
    ("bpf/shared.h",                 (),                                               ("bpf/*",)),
    ("bpf/*",                        ("bpf/*",),                                       ()),
    ("helper/wire/wire.c",           ("helper/wire/*",),                               LIBBPF + ("stdio.h",)),
    ("helper/wire/*",                ("helper/wire/*",),                               LIBBPF + INPUT_OUTPUT),
    ("helper/policy.*",              ("helper/policy*.h", "helper/hash.h", "helper/wire/*"),            LIBBPF + INPUT_OUTPUT),
    ("helper/registry*",             ("helper/registry*.h", "helper/hash.h", "helper/siphash.h", "helper/wire/*", "bpf/shared.h", "helper/policy.h"),
                                                                                       LIBBPF + INPUT_OUTPUT),
    ("helper/cli/statistics*",       ("helper/cli/statistics.h",),                     LIBBPF + INPUT_OUTPUT),
    ("helper/cli/probe.c",           ("helper/cli/*", "helper/wire/*", "helper/selftest.h"), LIBBPF),
    ("helper/cli/*",                 ("helper/cli/*", "helper/wire/*"),                LIBBPF),
    ("helper/datapath*",             ("helper/datapath*.h", "helper/log.h", "helper/loopback.h", "bpf/shared.h", "bpf/*.skel.h"), ()),
    ("helper/selftest*",             ("helper/*.h", "bpf/shared.h", "bpf/smaccel.skel.h"), ()),
    ("helper/*",                     ("helper/*.h", "helper/wire/*", "bpf/shared.h"),  LIBBPF),
    ("preload/*",                    ("preload/*", "helper/wire/*"),                   LIBBPF + ("popt.h", "jansson.h", "uthash.h")),
    ("tests/*",                      ("*",),                                           ()),
    ("*",                            (),                                               ()),
]
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def rule_of(name):
    return next((rule for rule in RULES if fnmatch.fnmatch(name, rule[0])), None)


def own_path(name, included, known):
    """The project's file that an include in quotes means: beside the file, or in a folder given by -I."""
    for folder in (os.path.dirname(name), "build/bpf", "helper", "bpf", "preload"):
        path = os.path.normpath(os.path.join(folder, included))
        if path in known:
            return path
    return "bpf/" + included if included.endswith(".skel.h") else None


def main():
    complaints = []
    known = set(files())
    for name in files("c"):
        _, allowed, refused = rule_of(name)
        for number, line in enumerate(text_of(name).splitlines(), 1):
            found = INCLUDE.match(line)
            if not found:
                continue
            quote, included = found.groups()
            own = own_path(name, included, known) if quote == '"' else None
            if own:
                if own != name and not any(fnmatch.fnmatch(own, pattern) for pattern in allowed):
                    complaints.append(f"{name}:{number}: must not include {own}")
            elif any(fnmatch.fnmatch(included, pattern) for pattern in refused):
                complaints.append(f"{name}:{number}: must not include <{included}>")
    finish(complaints)


main()

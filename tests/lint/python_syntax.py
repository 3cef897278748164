#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Each Python file given compiles; writes no byte code."""
import ast
import sys

failed = False
for name in sys.argv[1:]:
    try:
        with open(name, encoding="utf-8") as source:
            ast.parse(source.read(), name)
    except SyntaxError as error:
        print(error)
        failed = True
sys.exit(failed)

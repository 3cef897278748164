# SPDX-License-Identifier: BSD-2-Clause
"""Java: selectors, available() (FIONREAD), transferTo (sendfile), HttpClient and HttpServer, resets, object streams."""
import json
from pathlib import Path

import pytest
from support.program import EAGER, auto

CHECK = Path(__file__).with_name("Check.java")


def checked(rounds):
    def workload(stage):
        stage.run("javac", "-d", stage.directory, CHECK, timeout=120)
        server = stage.start("java", "-XX:+UseSerialGC", "-cp", stage.directory, "Check", "server", stage.directory)
        ports = server.wait_output("ports ", 60).split()
        return json.loads(stage.run("java", "-XX:+UseSerialGC", "-cp", stage.directory, "Check", "client", *ports, rounds, timeout=300).out)
    return workload


@pytest.mark.long
@pytest.mark.parametrize("arm", [EAGER, auto(1)], ids=str)
def test_java(compare, arm):
    # In auto mode its streams stay joined as long as the scheduler makes turns of them: a busy machine has redirected 7 %.
    share = 0.2 if arm == EAGER else 0.02
    compare(checked(60), redirected=lambda seen: share * seen["bytes"], arms=(arm,))

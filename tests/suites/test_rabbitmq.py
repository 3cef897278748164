# SPDX-License-Identifier: BSD-2-Clause
"""RabbitMQ (Erlang's own event loop and threads): a client that publishes with confirms and checks what it consumes."""
import json
from pathlib import Path

import pytest
from support.program import EAGER, auto

CHECK = Path(__file__).with_name("rabbitmq_check.py")

CONFIGURATION = """
listeners.tcp.1 = 127.0.0.1:{port}
loopback_users = none
vm_memory_high_watermark.absolute = 1GB
disk_free_limit.absolute = 1MB
"""


def broker(stage):
    port, distribution, mapper = stage.port(), stage.port(), stage.port()
    stage.write("rabbitmq.conf", CONFIGURATION.format(port=port))
    stage.write("plugins", "[].\n")
    stage.write(".erlang.cookie", "SMACCEL", 0o400)
    env = {"HOME": stage.directory, "RABBITMQ_NODENAME": f"smaccel{port}@localhost", "RABBITMQ_CONFIG_FILE": stage.directory / "rabbitmq",
           "RABBITMQ_MNESIA_BASE": stage.directory / "mnesia", "RABBITMQ_LOG_BASE": stage.directory / "log", "ERL_EPMD_PORT": mapper,
           "RABBITMQ_ENABLED_PLUGINS_FILE": stage.directory / "plugins", "RABBITMQ_DIST_PORT": distribution,
           "RABBITMQ_PID_FILE": stage.directory / "pid", "RABBITMQ_CONF_ENV_FILE": "/dev/null"}
    # The packaged script changes to a user of its own; the program behind it is the same.
    stage.serve(port, "/usr/lib/rabbitmq/bin/rabbitmq-server", env=env, timeout=90)
    return port


def checked(rounds):
    def workload(stage):
        port = broker(stage)
        return json.loads(stage.run("/usr/bin/python3", CHECK, port, rounds, timeout=120).out)
    return workload


@pytest.mark.long
@pytest.mark.parametrize("arm", [EAGER, auto(1)], ids=str)
def test_rabbitmq(compare, arm):
    compare(checked(60), redirected=lambda seen: 0.2 * seen["bytes"], arms=(arm,))

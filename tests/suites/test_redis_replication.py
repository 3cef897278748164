# SPDX-License-Identifier: BSD-2-Clause
"""redis: a primary and two replicas (full synchronisation over the socket, then the stream), publish and subscribe, blocking pops, Lua."""
from support.apps import wait_until


def server(stage, name, *options):
    port = stage.port()
    folder = stage.folder(name)
    stage.serve(port, "redis-server", "--port", port, "--bind", "127.0.0.1", "--dir", folder, "--save", "", "--appendonly", "no",
                "--enable-debug-command", "yes", *options)
    return port


def workload(keys, size):
    def run(stage):
        def ask(port, *words, **more):
            return stage.run("redis-cli", "-p", port, *words, **more).out.strip()
        primary = server(stage, "primary", "--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0")
        fill = "for i = 1, tonumber(ARGV[1]) do redis.call('SET', 'key:' .. i, string.rep(tostring(i), tonumber(ARGV[2]))) end return 'filled'"
        said = [ask(primary, "EVAL", fill, 0, keys, size, timeout=60)]
        follow = ("--replicaof", f"127.0.0.1 {primary}")
        replicas = [server(stage, "one", *follow), server(stage, "two", "--repl-diskless-load", "swapdb", *follow)]
        for replica in replicas:
            wait_until(lambda replica=replica: "master_link_status:up" in ask(replica, "INFO", "replication"), 30)
        listener = stage.start("redis-cli", "-p", replicas[0], "SUBSCRIBE", "news")
        wait_until(lambda: "subscribe" in listener.out, 5, listener.describe)
        popper = stage.start("redis-cli", "-p", primary, "BLPOP", "queue", "20")
        said.append(ask(primary, "EVAL", fill.replace("'key:'", "'later:'"), 0, keys, size, timeout=60))
        said.append(ask(primary, "RPUSH", "queue", "popped"))
        said.append(popper.wait(10) == 0 and popper.out)
        said.append(ask(primary, "PUBLISH", "news", "heard"))
        wait_until(lambda: "heard" in listener.out, 10, listener.describe)
        for replica in replicas:
            wait_until(lambda replica=replica: ask(replica, "DBSIZE") == ask(primary, "DBSIZE"), 30)
        digests = [ask(port, "DEBUG", "DIGEST", timeout=60) for port in (primary, *replicas)]
        said += [stage.run("redis-cli", "-p", primary, "--pipe", text="".join(f"SET piped:{n} {n}\r\n" for n in range(20000)), timeout=60).out,
                 ask(primary, "DBSIZE")]
        return said, digests
    return run


def test_redis_replication(compare, long):
    keys, size = (20_000, 2000) if long else (2_000, 1000)
    said, digests = compare(workload(keys, size), redirected=0.1 * keys * size)
    assert len(set(digests)) == 1, said

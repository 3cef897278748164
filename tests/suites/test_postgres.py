# SPDX-License-Identifier: BSD-2-Clause
"""PostgreSQL, a forked backend per connection: pgbench whose sums must agree, COPY in bulk, NOTIFY, logical and physical replication."""
import shutil
from pathlib import Path

import pytest
from stage import Stage
from support.apps import wait_until
from support.program import EAGER, PLAIN, auto

USER = "nobody"
SETTINGS = ["fsync=off", "unix_socket_directories=", "listen_addresses=127.0.0.1", "wal_level=logical", "max_wal_senders=8",
            "max_connections=40", "shared_buffers=32MB", "log_min_messages=warning", "ssl=off", "jit=off"]


def program(name):
    """Debian keeps them apart by version."""
    found = max(map(str, Path("/usr/lib/postgresql").glob(f"*/bin/{name}")), default=shutil.which(name))
    assert found, f"{name} is not installed"
    return found


class Cluster:
    def __init__(self, stage, name):
        self.stage = stage
        self.name = name
        self.port = stage.port()
        self.data = stage.folder(name, 0o700)
        shutil.chown(self.data, USER)
        self.program = None

    def create(self, template):
        shutil.copytree(template, self.data, dirs_exist_ok=True)
        for path in [self.data, *self.data.rglob("*")]:
            shutil.chown(path, USER)
        return self

    def start(self):
        self.program = self.stage.serve(self.port, program("postgres"), "-D", self.data, "-p", self.port,
                                        *(f"-c{setting}" for setting in SETTINGS), user=USER)
        wait_until(lambda: self.client("psql", "-c", "SELECT 1", status=None).status == 0, 15, self.program.describe)
        return self

    def client(self, name, *options, **more):
        env = {"PGHOST": "127.0.0.1", "PGPORT": self.port, "PGUSER": "postgres", "PGDATABASE": "postgres"}
        return self.stage.run(program(name), *options, env=env, **more)

    def sql(self, *statements, **more):
        return self.client("psql", "-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", *(word for s in statements for word in ("-c", s)), **more).out.strip()


SUMS = "SELECT (SELECT sum(abalance) FROM pgbench_accounts) = sum(delta), (SELECT sum(bbalance) FROM pgbench_branches) = sum(delta), " \
       "(SELECT sum(tbalance) FROM pgbench_tellers) = sum(delta), count(*) FROM pgbench_history"


@pytest.fixture(scope="module")
def template():
    """What initdb makes, once."""
    with Stage(PLAIN, None) as stage:
        data = stage.folder("data", 0o700)
        shutil.chown(data, USER)
        stage.run(program("initdb"), "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N", user=USER)
        yield data


def pgbench(template, clients, transactions, seconds):
    def workload(stage):
        cluster = Cluster(stage, "data").create(template).start()
        cluster.client("pgbench", "-i", "-q", "-s", 2 if seconds else 1, timeout=60)
        results = []
        for protocol in ("simple", "extended", "prepared"):
            done = cluster.client("pgbench", "-n", "-c", clients, "-j", 2, "-t", transactions, "-M", protocol, timeout=120)
            results += [line for line in done.out.splitlines() if line.startswith("number of ")]
        results.append(cluster.sql(SUMS))
        assert results[-1].startswith("t|t|t|"), results
        if seconds:
            cluster.client("pgbench", "-n", "-c", clients, "-j", 2, "-T", seconds, timeout=seconds + 60)
            assert cluster.sql(SUMS).startswith("t|t|t|")
        # Bulk both ways: the checksum of what comes back through COPY, errors in the middle of a stream, a cancelled query.
        rows = "SELECT g, md5(g::text), repeat(chr(65 + g % 26), g % 3000) FROM generate_series(1, 20000) g"
        cluster.sql("CREATE TABLE bulk (g int, m text, r text)")
        dump = cluster.sql(f"COPY ({rows}) TO STDOUT", timeout=60) + "\n"
        cluster.client("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", "COPY bulk FROM STDIN", text=dump, timeout=60)
        results.append(cluster.sql("SELECT count(*), md5(string_agg(t::text, '' ORDER BY g)) FROM bulk t"))
        results.append(cluster.sql(f"SELECT count(*), md5(string_agg(t::text, '' ORDER BY g)) FROM ({rows}) t"))
        assert results[-1] == results[-2]
        results.append(cluster.sql("SET statement_timeout = 100; SELECT g, pg_sleep(0.001) FROM generate_series(1, 100000) g", status=None))
        return results
    return workload


def replication(template, rows):
    def workload(stage):
        first, second = (Cluster(stage, name).create(template).start() for name in ("first", "second"))
        table = "CREATE TABLE t (id int PRIMARY KEY, m text, r text)"
        fill = "INSERT INTO t SELECT g, md5(g::text), repeat(md5(g::text), g % 20) FROM generate_series({}, {}) g"
        check = "SELECT count(*), md5(string_agg(t::text, '' ORDER BY id)) FROM t"
        first.sql(table, fill.format(1, rows), "CREATE PUBLICATION p FOR TABLE t")
        second.sql(table, f"CREATE SUBSCRIPTION s CONNECTION 'host=127.0.0.1 port={first.port} user=postgres dbname=postgres' PUBLICATION p")
        first.sql(fill.format(rows + 1, 2 * rows), "UPDATE t SET m = 'changed' WHERE id % 7 = 0", "DELETE FROM t WHERE id % 11 = 0")
        wanted = first.sql(check)
        wait_until(lambda: second.sql(check) == wanted, 60, lambda: f"{second.sql(check)} is not {wanted}\n{second.program.describe()}")
        first.client("pg_basebackup", "-D", stage.directory / "backup", "-X", "stream", "-c", "fast", user=None, timeout=60)
        verified = stage.run(program("pg_verifybackup"), stage.directory / "backup").out
        second.sql("DROP SUBSCRIPTION s")
        return wanted, verified
    return workload


def test_pgbench(compare, template, long):
    transactions = 1000 if long else 40
    compare(pgbench(template, 8, transactions, 60 if long else 0), redirected=10_000_000, arms=(EAGER, auto(1)) if long else (EAGER,))


def test_replication(compare, template, long):
    # A sender that spills again and again leaves: on a busy machine much of the backup goes by TCP. The queries alone are some 10 KB.
    compare(replication(template, 200_000 if long else 5_000), redirected=1_000_000)

# SPDX-License-Identifier: BSD-2-Clause
"""MariaDB, a thread per connection: bulk loads and dumps with checksums, mysqlslap's clients, a replica."""
import shutil

from support.apps import wait_until

FILL = "CREATE TABLE t (id int PRIMARY KEY, m varchar(40), r mediumtext); " \
       "INSERT INTO t SELECT seq, md5(seq), repeat(md5(seq), seq % 50) FROM seq_1_to_{rows}"
CHECK = "SELECT count(*), sum(crc32(concat(id, m, r))) FROM t"


class Server:
    def __init__(self, stage, name, number):
        self.stage = stage
        data = stage.folder(name, 0o700)
        shutil.chown(data, "nobody")
        common = ["--no-defaults", f"--datadir={data}", "--user=nobody"]
        stage.run("mariadb-install-db", *common, "--auth-root-authentication-method=normal", "--skip-test-db", timeout=120)
        self.port = stage.port()
        stage.serve(self.port, "mariadbd", *common, f"--port={self.port}", "--bind-address=127.0.0.1", f"--socket={data}/socket",
                    "--innodb-flush-log-at-trx-commit=0", f"--server-id={number}", f"--log-bin={data}/binlog", "--max-allowed-packet=64M",
                    timeout=60)

    def client(self, name, *options, **more):
        return self.stage.run(name, "--no-defaults", "--host=127.0.0.1", "--protocol=tcp", f"--port={self.port}", "--user=root", *options,
                              timeout=120, **more)

    def sql(self, text, database="d"):
        return self.client("mariadb", "-N", "-B", database, "-e", text).out.strip()


def workload(rows, queries):
    def run(stage):
        first, second = Server(stage, "first", 1), Server(stage, "second", 2)
        first.sql("CREATE DATABASE d; GRANT REPLICATION SLAVE ON *.* TO 'copy'@'127.0.0.1' IDENTIFIED BY 'x'", "mysql")
        second.sql(f"CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={first.port}, MASTER_USER='copy', MASTER_PASSWORD='x', "
                   "MASTER_USE_GTID=slave_pos; START SLAVE", "mysql")
        first.sql(FILL.format(rows=rows))
        results = [first.sql(CHECK)]
        dump = first.client("mariadb-dump", "--skip-dump-date", "--skip-comments", "d").out
        first.sql("CREATE DATABASE e")
        first.client("mariadb", "--max-allowed-packet=64M", "e", text=dump)
        results += [first.sql(CHECK, "e"), len(dump)]
        first.client("mariadb-slap", "--create-schema=s", "--auto-generate-sql", "--auto-generate-sql-load-type=mixed", "--concurrency=8",
                     f"--number-of-queries={queries}", "--auto-generate-sql-write-number=100")
        wait_until(lambda: second.sql("SHOW DATABASES LIKE 'e'", "mysql") == "e" and second.sql("SHOW TABLES", "e") == "t"
                   and second.sql(CHECK, "e") == results[0], 60)
        results.append(second.sql(CHECK))
        assert results[0] == results[1] == results[3]
        return results
    return run


def test_mariadb(compare, long):
    rows, queries = (100_000, 20_000) if long else (5_000, 500)
    compare(workload(rows, queries), redirected=500 * rows)

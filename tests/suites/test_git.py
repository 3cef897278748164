# SPDX-License-Identifier: BSD-2-Clause
"""git daemon. It executes git upload-pack with the socket as standard input and output (inetd style): plain TCP behind the exec."""
from stage import random_file


def clones(size):
    def workload(stage):
        env = {"HOME": stage.directory, "GIT_CONFIG_NOSYSTEM": 1, "GIT_CONFIG_COUNT": 1, "GIT_CONFIG_KEY_0": "safe.directory",
               "GIT_CONFIG_VALUE_0": "*", "GIT_AUTHOR_DATE": "@1 +0000", "GIT_COMMITTER_DATE": "@1 +0000"}
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        here = stage.folder("here")
        stage.run("git", "init", "-q", "-b", "main", cwd=here, env=env)
        heads = []
        for number in range(3):
            random_file(here / f"file-{number}", size // 3, seed=number)
            stage.run("git", "add", ".", cwd=here, env=env)
            stage.run("git", *who, "commit", "-q", "-m", f"number {number}", cwd=here, env=env)
        heads.append(stage.run("git", "rev-parse", "HEAD", cwd=here, env=env).out)
        port = stage.port()
        stage.serve(port, "git", "daemon", "--reuseaddr", "--listen=127.0.0.1", f"--port={port}", "--export-all", "--enable=receive-pack",
                    f"--base-path={stage.directory}", env=env)
        stage.run("git", "clone", "-q", f"git://127.0.0.1:{port}/here", "there", env=env)
        there = stage.directory / "there"
        stage.run("git", "fsck", "--full", "--strict", cwd=there, env=env)
        heads.append(stage.run("git", "rev-parse", "HEAD", cwd=there, env=env).out)
        random_file(there / "more", size // 3, seed=9)
        stage.run("git", "add", ".", cwd=there, env=env)
        stage.run("git", *who, "commit", "-q", "-m", "more", cwd=there, env=env)
        stage.run("git", "push", "-q", "origin", "HEAD:refs/heads/more", cwd=there, env=env)
        heads.append(stage.run("git", "rev-parse", "more", cwd=here, env=env).out)
        return heads
    return workload


def test_git_daemon(compare, long):
    first, second, third = compare(clones(60_000_000 if long else 3_000_000), redirected=0)
    assert first == second != third

/* SPDX-License-Identifier: BSD-2-Clause */
/* exec in all its forms: programs that know nothing of the shim get the connection as stdin, stdout or fd N.
 *
 * Those programs use read, write and stdio; some run under the shim, some (bare) without it.
 */
#define _GNU_SOURCE
#include "process_case.h"

#include <spawn.h>

#define ECHO (2u << 20)
#define POPEN_BYTES 200000

extern char **environ;

/* The environment without the shim. */
static char **environ_bare(void)
{
	static char *bare[256];
	size_t count = 0;

	for (char **one = environ; *one && count < 255; one++)
		if (strncmp(*one, "LD_PRELOAD=", 11))
			bare[count++] = *one;
	bare[count] = NULL;
	return bare;
}

static void exec_on_stdio(int fd, const char *const *command, char **environment)
{
	must(dup2(fd, STDIN_FILENO));
	must(dup2(fd, STDOUT_FILENO));
	if (fd > STDERR_FILENO)
		must(close(fd));
	must(execvpe(command[0], (char *const *)command, environment));
}

/* ---- inetd: accept, fork, dup2, exec ---- */
static void inetd(struct end *end, const char *const *command, char **environment)
{
	pid_t child = fork_child();

	if (child == 0)
		exec_on_stdio(end->fd, command, environment);
	must(close(end->fd));
	wait_for(child, command[0]);
	pair_prove();
}

static const char *const cat_command[] = { "cat", NULL };
static const char *const shell_command[] = { "sh", "-c", "read x; echo got $x", NULL };
static const char *const python_command[] = { "python3", "-S", "-c",
					      "import sys\n"
					      "for line in sys.stdin.buffer:\n"
					      "    print(len(line), sum(line) % 65536, flush=True)\n",
					      NULL };

static void subject_inetd_cat(struct end *end)
{
	inetd(end, cat_command, environ);
}
static void subject_inetd_cat_bare(struct end *end)
{
	inetd(end, cat_command, environ_bare());
}
static void subject_inetd_shell(struct end *end)
{
	inetd(end, shell_command, environ);
}
static void subject_inetd_python(struct end *end)
{
	inetd(end, python_command, environ);
}

static void driver_echo(struct end *end)
{
	end_echo(end, ECHO);
	must(shutdown(end->fd, SHUT_WR));
	end_expect_eof(end, 5000);
}

/* One line from the peer, without the newline. */
static void receive_line(int fd, char *line, size_t room)
{
	for (size_t i = 0; i < room; i++) {
		if (must(recv(fd, line + i, 1, 0)) == 0)
			fail("end of file instead of a line");
		if (line[i] == '\n') {
			line[i] = '\0';
			return;
		}
	}
	fail("the line has no end");
}

static void driver_shell(struct end *end)
{
	char line[100];

	must(send(end->fd, "one word\n", 9, MSG_NOSIGNAL));
	receive_line(end->fd, line, sizeof(line));
	if (strcmp(line, "got one word"))
		fail("answer: %s", line);
	end_expect_eof(end, 5000);
}

static void driver_python(struct end *end)
{
	for (unsigned i = 0; i < 300; i++) {
		char line[9000], answer[100], expected[100];
		size_t bytes = i == 0 ? 1 : rng_size(&end->rng, sizeof(line));
		unsigned sum = 0;

		for (size_t k = 0; k < bytes; k++) {
			line[k] = (char)('a' + rng_below(&end->rng, 26));
			if (k == bytes - 1)
				line[k] = '\n';
			sum += (unsigned char)line[k];
		}
		if (write_whole(end->fd, line, bytes))
			fail("send: %s", strerror(errno));
		receive_line(end->fd, answer, sizeof(answer));
		snprintf(expected, sizeof(expected), "%zu %u", bytes, sum % 65536);
		if (strcmp(answer, expected))
			fail("line %u: %s instead of %s", i, answer, expected);
	}
	must(shutdown(end->fd, SHUT_WR));
	end_expect_eof(end, 5000);
}

/* ---- the process itself becomes another program, the connection armed at that moment ---- */
static void subject_exec(struct end *end)
{
	exec_on_stdio(end->fd, cat_command, environ);
}

static void subject_exec_bare(struct end *end)
{
	exec_on_stdio(end->fd, cat_command, environ_bare());
}

/* The first bytes of the echo wait unread in the connection when it changes hands. */
static void subject_exec_unread(struct end *end)
{
	end_await(end);
	exec_on_stdio(end->fd, cat_command, environ_bare());
}

/* exec that fails: the process goes on with its connection. */
static void subject_exec_fails(struct end *end)
{
	for (int i = 0; i < 3; i++) {
		if (execl("/nowhere/at/all", "all", (char *)NULL) == 0 || errno != ENOENT)
			fail("exec of nothing: %s", strerror(errno));
		end_turns(end, WARM_TURNS, false);
	}
	end_duplex(end, ECHO, ECHO);
	must(close(end->fd));
}

static void driver_exec_fails(struct end *end)
{
	end_turns(end, 3 * WARM_TURNS, true);
	end_duplex(end, ECHO, ECHO);
	end_expect_eof(end, 2000);
}

/* ---- system(), popen() ---- */
static void subject_system(struct end *end)
{
	char command[64];

	if (system("true") != 0)
		fail("system(true)");
	end_turns(end, WARM_TURNS, false);
	snprintf(command, sizeof(command), "exec cat <&%d >&%d", end->fd, end->fd);
	if (system(command) != 0)
		fail("system(cat)");
	must(close(end->fd));
	pair_prove();
}

static void driver_system(struct end *end)
{
	end_turns(end, WARM_TURNS, true);
	driver_echo(end);
}

/* What a child writes and what the parent writes before and after is one stream. */
static void subject_popen_write(struct end *end)
{
	static uint8_t buffer[POPEN_BYTES];
	char command[64];

	for (int i = 0; i < 3; i++) {
		snprintf(command, sizeof(command), "cat >&%d", end->fd);
		FILE *pipe_to = popen(command, "w");
		if (!pipe_to)
			fail("popen");
		pattern_fill(&end->out, end->sent, buffer, sizeof(buffer));
		if (fwrite(buffer, sizeof(buffer), 1, pipe_to) != 1 || pclose(pipe_to) != 0)
			fail("pclose");
		end->sent += sizeof(buffer);
		end_send(end, POPEN_BYTES);
	}
	end_turns(end, WARM_TURNS, false);
	must(close(end->fd));
}

static void driver_popen_write(struct end *end)
{
	end_receive(end, 6 * POPEN_BYTES);
	end_turns(end, WARM_TURNS, true);
	end_expect_eof(end, 2000);
}

static void subject_popen_read(struct end *end)
{
	static uint8_t buffer[POPEN_BYTES];
	char command[64];

	for (int i = 0; i < 3; i++) {
		snprintf(command, sizeof(command), "head -c %d <&%d", POPEN_BYTES, end->fd);
		FILE *pipe_from = popen(command, "r");
		if (!pipe_from)
			fail("popen");
		if (fread(buffer, sizeof(buffer), 1, pipe_from) != 1 || pclose(pipe_from) != 0)
			fail("the child read less");
		if (pattern_verify(&end->in, end->received, buffer, sizeof(buffer)) >= 0)
			fail("wrong bytes in the child");
		end->received += sizeof(buffer);
		end_receive(end, POPEN_BYTES);
	}
	end_send(end, 1);
	end_turns(end, WARM_TURNS, false);
	must(close(end->fd));
}

static void driver_popen_read(struct end *end)
{
	end_send(end, 6 * POPEN_BYTES);
	end_receive(end, 1);
	end_turns(end, WARM_TURNS, true);
	end_expect_eof(end, 2000);
}

/* ---- posix_spawn ---- */
static void spawn_cat(struct end *end, char **environment)
{
	posix_spawn_file_actions_t actions;
	pid_t child;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, end->fd, STDIN_FILENO);
	posix_spawn_file_actions_adddup2(&actions, end->fd, STDOUT_FILENO);
	posix_spawn_file_actions_addclose(&actions, end->fd);
	int error = posix_spawnp(&child, "cat", &actions, NULL, (char *[]){ "cat", NULL }, environment);
	if (error)
		fail("posix_spawnp: %s", strerror(error));
	posix_spawn_file_actions_destroy(&actions);
	must(close(end->fd));
	wait_for(child, "cat");
	pair_prove();
}

static void subject_spawn_actions(struct end *end)
{
	spawn_cat(end, environ);
}
static void subject_spawn_actions_bare(struct end *end)
{
	spawn_cat(end, environ_bare());
}

static void subject_spawn_unread(struct end *end)
{
	end_await(end);
	spawn_cat(end, environ_bare());
}

/* Children that only inherit the connection, as they are started by any program that forgets FD_CLOEXEC. */
static void subject_spawn_idle(struct end *end)
{
	for (int i = 0; i < 6; i++) {
		pid_t child;
		int error = posix_spawn(&child, "/bin/true", NULL, NULL, (char *[]){ "true", NULL }, environ);

		if (error)
			fail("posix_spawn: %s", strerror(error));
		end_turns(end, WARM_TURNS / 2, false);
		wait_for(child, "true");
	}
	end_duplex(end, ECHO, ECHO);
	must(close(end->fd));
}

static void driver_spawn_idle(struct end *end)
{
	end_turns(end, 6 * (WARM_TURNS / 2), true);
	end_duplex(end, ECHO, ECHO);
	end_expect_eof(end, 2000);
}

static void subject_spawn_uses(struct end *end)
{
	char command[64];
	pid_t child;

	snprintf(command, sizeof(command), "exec cat <&%d >&%d", end->fd, end->fd);
	int error = posix_spawn(&child, "/bin/sh", NULL, NULL, (char *[]){ "sh", "-c", command, NULL }, environ);
	if (error)
		fail("posix_spawn: %s", strerror(error));
	must(close(end->fd));
	wait_for(child, "sh");
}

/* ---- as inetd of old: vfork, dup2 in the child, exec ---- */
static void subject_vfork_cat(struct end *end)
{
	int fd = end->fd;
	pid_t child = vfork();

	if (child == 0) {
		dup2(fd, STDIN_FILENO);
		dup2(fd, STDOUT_FILENO);
		close(fd);
		execlp("cat", "cat", (char *)NULL);
		_exit(1);
	}
	must(child);
	must(close(fd));
	wait_for(child, "cat");
	pair_prove();
}

/* ---- programs that are executed see none of the shim's fds ---- */
static void subject_exec_fds(struct end *end)
{
	char line[64];
	FILE *list;

	end_turns(end, WARM_TURNS, false);
	list = popen("exec env LD_PRELOAD= ls /proc/self/fd", "r");
	if (!list)
		fail("popen");
	while (fgets(line, sizeof(line), list)) {
		int fd = atoi(line);

		if (fd >= 64 && !(fd < (int)sizeof(fds_foreign) && fds_foreign[fd]))
			fail("the program inherited fd %d", fd);
	}
	if (pclose(list) != 0)
		fail("ls");
	must(close(end->fd));
}

static void driver_exec_fds(struct end *end)
{
	end_turns(end, WARM_TURNS, true);
	end_expect_eof(end, 5000);
}

static const struct process_case cases[] = {
	{ "inetd-cat", subject_inetd_cat, driver_echo, true },
	{ "inetd-cat-bare", subject_inetd_cat_bare, driver_echo, true },
	{ "inetd-shell", subject_inetd_shell, driver_shell, true },
	{ "inetd-python", subject_inetd_python, driver_python, true },
	{ "exec", subject_exec, driver_echo, false },
	{ "exec-bare", subject_exec_bare, driver_echo, false },
	{ "exec-unread", subject_exec_unread, driver_echo, false },
	{ "exec-fails", subject_exec_fails, driver_exec_fails, true },
	{ "exec-fds", subject_exec_fds, driver_exec_fds, true },
	{ "system", subject_system, driver_system, true },
	{ "popen-write", subject_popen_write, driver_popen_write, true },
	{ "popen-read", subject_popen_read, driver_popen_read, true },
	{ "spawn-actions", subject_spawn_actions, driver_echo, true },
	{ "spawn-actions-bare", subject_spawn_actions_bare, driver_echo, true },
	{ "spawn-unread", subject_spawn_unread, driver_echo, true },
	{ "spawn-idle", subject_spawn_idle, driver_spawn_idle, true },
	{ "spawn-uses", subject_spawn_uses, driver_echo, true },
	{ "vfork-cat", subject_vfork_cat, driver_echo, true },
};

int main(int argc, char **argv)
{
	return case_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}

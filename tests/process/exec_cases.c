/* SPDX-License-Identifier: BSD-2-Clause */
/* exec in all its forms: programs that know nothing of the shim get the connection as stdin, stdout or fd N.
 *
 * Those programs use read, write and stdio; some run under the shim, some (bare) without it.
 */
#define _GNU_SOURCE
#include "process_program.h"

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

static const char *const shell_command[] = { "sh", "-c", "read x; echo got $x", NULL };
static const char *const python_command[] = { "python3", "-S", "-c",
					      "import sys\n"
					      "for line in sys.stdin.buffer:\n"
					      "    print(len(line), sum(line) % 65536, flush=True)\n",
					      NULL };

static void subject_inetd_whole_unread(struct end *end)
{
	end_await(end);
	inetd(end, whole_command, environ);
}

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
	{ "inetd-whole-unread", subject_inetd_whole_unread, driver_whole, true },
	{ "exec", subject_exec, driver_echo, false },
	{ "exec-bare", subject_exec_bare, driver_echo, false },
	{ "exec-unread", subject_exec_unread, driver_echo, false },
	{ "exec-fails", subject_exec_fails, driver_exec_fails, true },
	{ "exec-fds", subject_exec_fds, driver_exec_fds, true },
};

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], WHOLE))
		return echo_whole();
	return case_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}

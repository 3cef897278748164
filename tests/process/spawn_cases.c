/* SPDX-License-Identifier: BSD-2-Clause */
/* Programs that libc starts, or a vfork: no wrapper sees their execs, or it must do nothing there. As in exec_cases.c. */
#define _GNU_SOURCE
#include "process_program.h"

#include <spawn.h>

#define POPEN_BYTES 200000

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
static void spawn(struct end *end, const char *const *command, char **environment)
{
	posix_spawn_file_actions_t actions;
	pid_t child;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, end->fd, STDIN_FILENO);
	posix_spawn_file_actions_adddup2(&actions, end->fd, STDOUT_FILENO);
	posix_spawn_file_actions_addclose(&actions, end->fd);
	int error = posix_spawnp(&child, command[0], &actions, NULL, (char *const *)command, environment);
	if (error)
		fail("posix_spawnp: %s", strerror(error));
	posix_spawn_file_actions_destroy(&actions);
	must(close(end->fd));
	wait_for(child, command[0]);
	pair_prove();
}

static void subject_spawn_actions(struct end *end)
{
	spawn(end, cat_command, environ);
}
static void subject_spawn_actions_bare(struct end *end)
{
	spawn(end, cat_command, environ_bare());
}

static void subject_spawn_unread(struct end *end)
{
	end_await(end);
	spawn(end, cat_command, environ_bare());
}

/* Close-on-exec, as in most programs of today: only the file actions hand it on. */
static void subject_spawn_whole(struct end *end)
{
	must(fcntl(end->fd, F_SETFD, FD_CLOEXEC));
	spawn(end, whole_command, environ);
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
static void vfork_to(struct end *end, const char *const *command)
{
	int fd = end->fd;
	pid_t child = vfork();

	if (child == 0) {
		dup2(fd, STDIN_FILENO);
		dup2(fd, STDOUT_FILENO);
		close(fd);
		execvp(command[0], (char *const *)command);
		_exit(1);
	}
	must(child);
	must(close(fd));
	wait_for(child, command[0]);
	pair_prove();
}

static void subject_vfork_cat(struct end *end)
{
	vfork_to(end, cat_command);
}

static void subject_vfork_whole(struct end *end)
{
	vfork_to(end, whole_command);
}

static const struct process_case cases[] = {
	{ "system", subject_system, driver_system, true },
	{ "popen-write", subject_popen_write, driver_popen_write, true },
	{ "popen-read", subject_popen_read, driver_popen_read, true },
	{ "spawn-actions", subject_spawn_actions, driver_echo, true },
	{ "spawn-actions-bare", subject_spawn_actions_bare, driver_echo, true },
	{ "spawn-unread", subject_spawn_unread, driver_echo, true },
	{ "spawn-whole", subject_spawn_whole, driver_whole, true },
	{ "spawn-idle", subject_spawn_idle, driver_spawn_idle, true },
	{ "spawn-uses", subject_spawn_uses, driver_echo, true },
	{ "vfork-cat", subject_vfork_cat, driver_echo, true },
	{ "vfork-whole", subject_vfork_whole, driver_whole, true },
};

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], WHOLE))
		return echo_whole();
	return case_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
